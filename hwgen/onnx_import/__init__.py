"""ONNX files to model descriptions: QONNX, QCDQ and what surrounds them."""

from .importer import import_onnx

__all__ = ["import_onnx"]
