"""A tiny network in a file, and one build of it for all tests."""

import json
from types import SimpleNamespace

import pytest

from hwgen.cli import main

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


@pytest.fixture
def hwgen(capsys):
    """Run a command; its exit status, what it printed, and the lines on standard error."""
    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err, errors=err.splitlines())
    return run
