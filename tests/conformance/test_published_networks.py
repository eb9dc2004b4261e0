"""Published and random networks give their published outputs, in the golden model and in hardware.

The networks are not part of the project; `../shared/models` has them where they are at hand.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from conformance import (  # noqa: E402
    BOARD,
    FOLDER,
    equal_vectors,
    find_cases,
    simulated,
)

from hwgen.golden import from_user, golden, model_output  # noqa: E402
from hwgen.passes import run_pipeline  # noqa: E402

CASES = find_cases(FOLDER) if FOLDER.is_dir() else []
SIMULATED = ("r008", "r015", "bnn_fc_1layer")  # in the first tier; small, and of every kind
LARGEST = ("cnv_w1a1_cifar10", "hls4ml_branched_w4a4")  # two vectors are enough of these

pytestmark = pytest.mark.skipif(not CASES, reason=f"no networks in {FOLDER.parent.name}/models")


def named(case):
    return case.name


@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_vector_is_equal_in_the_golden_model(case):
    graph = case.load().to_graph()
    good = equal_vectors(case, graph, golden(graph, case.inputs()))
    assert good.all(), f"vectors {np.flatnonzero(~good).tolist()} differ"


@pytest.mark.parametrize("case", [
    pytest.param(case, marks=() if case.name in SIMULATED else pytest.mark.slow)
    for case in CASES], ids=named)
def test_vectors_are_equal_in_simulated_hardware_that_fits_the_board(case, tmp_path):
    model = case.load()
    graph = run_pipeline(model.to_graph())
    codes = from_user(graph, case.inputs()[:2 if case.name in LARGEST else 4])
    outputs, report = simulated(model, codes, tmp_path / "design", BOARD)
    assert equal_vectors(case, graph, model_output(graph, outputs)).all()
    assert report["simulated_interval"] == report["frame_interval_cycles"]
    assert all(report["estimate"][key] <= report["available"][key] for key in report["estimate"])


@pytest.mark.parametrize("name, correct", [("cnv_w1a1_cifar10", 53),
                                           ("mlperf_tiny_kws_dscnn_int8", 59)])
def test_the_accuracy_that_the_metas_state_is_reproduced(name, correct):
    case, = [c for c in CASES if c.name == name]
    labels = case.labels()
    stated = case.meta.get("top1_on_these_64") or \
        case.meta["vs_tflite_reference_kernels"]["top1_qonnx"]
    assert correct == round(stated * len(labels))
    scores = golden(case.load().to_graph(), case.inputs()[:len(labels)])
    assert (scores.argmax(axis=1) == labels).sum() == correct
