"""Build the digits network for a Zybo Z7-10 and try it out, with nothing but `hwgen` commands.

    python examples/digits/demo.py build/digits

Builds, verifies against the golden model, sends the whole test split through the simulated
hardware, synthesizes, and prints accuracy, frames per second, latency and resources.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
FPS = "50000"


def hwgen(*arguments: object) -> None:
    command = [str(a) for a in arguments]
    print("\n$ hwgen " + " ".join(command), flush=True)
    status = subprocess.run([sys.executable, "-m", "hwgen", *command], check=False).returncode
    if status:
        sys.exit(status)  # hwgen has said why


def main(folder: Path) -> int:
    folder.parent.mkdir(parents=True, exist_ok=True)
    split = np.load(HERE / "test_split.npz")
    images, labels = split["x"], split["labels"]
    scratch = folder.parent / f"{folder.name}-data"
    scratch.mkdir(exist_ok=True)
    np.save(scratch / "images.npy", images)

    hwgen("build", HERE / "model.json", "--board", "zybo-z7010", "--fps", FPS, "-o", folder)
    hwgen("verify", folder)
    hwgen("simulate", folder, "--raw", "--input", scratch / "images.npy",
          "--output", scratch / "scores.npy")
    hwgen("golden", HERE / "model.json", "--raw", "--input", scratch / "images.npy",
          "--output", scratch / "golden.npy")
    hwgen("synth", folder)

    simulated, golden = (np.load(scratch / f"{name}.npy") for name in ("scores", "golden"))
    equal = (simulated == golden).all(axis=1)
    print(f"\n{len(images)} test images: {equal.sum()} score vectors of the simulated hardware "
          "equal the golden model's")
    for name, scores in (("simulated hardware", simulated), ("golden model", golden)):
        print(f"accuracy of the {name}: {(scores.argmax(axis=1) == labels).mean():.2%}")
    return 0 if equal.all() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/digits")))
