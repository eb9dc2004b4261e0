"""Small ONNX networks in memory, node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Net", "dense_net"]

QONNX = "qonnx.custom_op.general"


class Net:
    """Adds nodes in a row; each reads the tensor made before it, and constants.

    Parameters
    ----------
    shape
        Of the input ``x``; strings are free dimensions.
    opset
        Version of the standard operators.
    """

    def __init__(self, *shape, opset=17):
        self.shape, self.opset = shape, opset
        self.nodes, self.constants, self.last = [], [], "x"

    def const(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def add(self, op, *inputs, domain="", outputs=1, name=None, **attributes):
        """A node that reads the last tensor and then ``inputs``: names, or arrays of constants."""
        read = [i if isinstance(i, str) else self.const(i) for i in inputs]
        made = [f"t{len(self.nodes)}" + (f"_{n}" if n else "") for n in range(outputs)]
        self.nodes.append(helper.make_node(op, [self.last, *read], made, domain=domain,
                                           name=name or f"{op}_{len(self.nodes)}", **attributes))
        self.last = made[0]
        return self

    def quant(self, bits=4, scale=0.25, zero=0.0, signed=1, narrow=0, mode="ROUND"):
        return self.add("Quant", scale, zero, bits, domain=QONNX, signed=signed, narrow=narrow,
                        rounding_mode=mode)

    def weights(self, values, scale=0.5, bits=4):
        """Name of quantized weights."""
        name = f"w{len(self.nodes)}"
        self.nodes.append(helper.make_node(
            "Quant", [self.const(values), self.const(scale), self.const(0.0), self.const(bits)],
            [name], domain=QONNX, signed=1, narrow=0, rounding_mode="ROUND", name=f"Quant_{name}"))
        return name

    def model(self, output=None, outputs=None):
        graph = helper.make_graph(
            self.nodes, "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.shape))],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None)
             for o in outputs or [output or self.last]], self.constants)
        return helper.make_model(graph, opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid(QONNX, 1),
            onnx.helper.make_opsetid("onnx.brevitas", 1)])


def dense_net(inputs=4, outputs=3, seed=0):
    """Quantized input, then a dense layer."""
    net = Net(1, inputs).quant()
    values = np.random.default_rng(seed).integers(-8, 8, (inputs, outputs)) * 0.5
    return net.add("MatMul", net.weights(values))
