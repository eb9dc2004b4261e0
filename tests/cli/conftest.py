"""Tiny networks in files, a description and an ONNX file, and one build of each for all tests."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from hwgen.cli import main
from tests.onnx_import.onnx_files import Net

TINY = {
    "format": "hwgen-model", "version": 1, "name": "tiny",
    "input": {"name": "x", "shape": [4, 4, 1], "type": "UINT4", "scale": "1/16"},
    "layers": [
        {"name": "conv1", "type": "conv2d", "weight_type": "TERNARY",
         "weights": [[[[1, 0]], [[-1, 1]]], [[[1, 0]], [[-1, -1]]]]},
        {"name": "act1", "type": "quantize", "output_type": "UINT2", "scale": 0.25},
        {"name": "flat", "type": "flatten"},
        {"name": "fc", "type": "dense", "weight_type": "BIPOLAR",
         "weights": [[1, -1], [-1, 1]] * 9},
    ],
    "labels": ["cat", "dog"],
}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Path of the tiny network."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="session")
def built(model, tmp_path_factory):
    """A build of the tiny network. Tests may add sections to its report."""
    folder = tmp_path_factory.mktemp("built") / "design"
    assert main(["build", str(model), "--fps", "1000000", "-o", str(folder)]) == 0
    return folder


def _quantized(x, scale):
    return np.clip(np.rint(x / scale), -8, 7) * scale


@pytest.fixture(scope="session")
def onnx_network(tmp_path_factory):
    """An ONNX file on images with channels first, frames, the scores of both, and labels."""
    rng = np.random.default_rng(3)
    hidden, last = (rng.integers(-8, 8, shape) * 0.5 for shape in ((18, 8), (8, 3)))
    net = Net(1, 2, 3, 3).quant().add("Flatten")
    net.add("MatMul", net.weights(hidden)).quant(scale=4.0)
    net.add("MatMul", net.weights(last)).add("Softmax", axis=1)
    file = tmp_path_factory.mktemp("onnx") / "net.onnx"
    onnx.save(net.model(), file)
    frames = rng.normal(0, 1, (6, 2, 3, 3)).astype(np.float32)
    scores = _quantized(_quantized(frames, 0.25).reshape(6, 18) @ hidden, 4.0) @ last
    labels = scores.argmax(axis=1)
    labels[:2] = (labels[:2] + 1) % 3
    for name, array in (("frames", frames), ("labels", labels)):
        np.save(file.with_name(f"{name}.npy"), array)
    return SimpleNamespace(file=file, frames=file.with_name("frames.npy"), scores=scores,
                           labels=file.with_name("labels.npy"))


@pytest.fixture(scope="session")
def built_onnx(onnx_network, tmp_path_factory):
    """A build of the ONNX file."""
    folder = tmp_path_factory.mktemp("built_onnx") / "design"
    assert main(["build", str(onnx_network.file), "--fps", "100000", "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def hwgen(capsys):
    """Run a command; its exit status, what it printed, and the lines on standard error."""
    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err, errors=err.splitlines())
    return run
