"""Tests on QONNX files: the reference executor is set up, or its tests are skipped."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side already

pytest.importorskip("qonnx", reason="qonnx is not installed (pip install 'hwgen[dev]')")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnxruntime.set_default_logger_severity(3)  # its shape inference warns of its own ceil_mode
