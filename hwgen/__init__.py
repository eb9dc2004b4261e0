"""hwgen: quantized neural networks to FPGA dataflow accelerators."""

__version__ = "0.1.0"
