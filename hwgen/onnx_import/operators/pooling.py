"""Pooling."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..file import OnnxNode
from ..refusal import Refusal
from ..registry import handles
from ..values import Value
from .elementwise import affine
from .layout import image, picture
from .linear import axis_pads, two

if TYPE_CHECKING:
    from ..importer import Importer

GROUP = "Pooling"


def _window(importer: "Importer", node: OnnxNode, last: bool
            ) -> tuple[Value, int, dict[str, Any]]:
    """The image, its spatial rank, and kernel, stride, pad and ceil_mode."""
    source = importer.value(node)
    rank = len(source.shape) - 2
    if rank not in (1, 2):
        raise Refusal(f"pools a tensor {source.sizes()}; 1-D and 2-D pooling can be built")
    kernel = two(node.attributes.get("kernel_shape"), 1, rank)
    stride = two(node.attributes.get("strides"), 1, rank)
    if any(int(d) != 1 for d in node.attributes.get("dilations", [])):
        raise Refusal("has dilations; only dense pooling windows can be built")
    value = image(importer, source, last)
    pads = axis_pads(node, value.tensor.shape[:2], kernel, stride, rank)
    return value, rank, {"kernel": list(kernel), "stride": list(stride), "pad": list(pads),
                         "ceil_mode": bool(node.attributes.get("ceil_mode", 0))}


@handles("MaxPool", group=GROUP,
         becomes="streaming maximum; the quantizer behind it moves in front; also channels last",
         limits="no dilations; no indices output")
def _max_pool(importer: "Importer", node: OnnxNode) -> None:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("gives the indices of the maxima, which have no hardware")
    value, rank, fields = _window(importer, node, node.channels_last)
    layer, tensor = importer.emit("max_pool", value, **fields)
    importer.set(node, Value(layer, tensor, picture(tensor.shape, rank, node.channels_last)))


@handles("MaxPoolNHWC", domain="qonnx", group=GROUP, becomes="streaming maximum, channels last")
def _max_pool_nhwc(importer: "Importer", node: OnnxNode) -> None:
    value, rank, fields = _window(importer, node, True)
    layer, tensor = importer.emit("max_pool", value, **fields)
    importer.set(node, Value(layer, tensor, picture(tensor.shape, rank, True)))


@handles("AveragePool", group=GROUP,
         becomes="streaming sum; the division is part of the scale", limits="no dilations")
def _average_pool(importer: "Importer", node: OnnxNode) -> None:
    value, rank, fields = _window(importer, node, node.channels_last)
    layer, tensor = importer.emit(
        "average_pool", value, **fields,
        count_include_pad=bool(node.attributes.get("count_include_pad", 0)))
    importer.set(node, Value(layer, tensor, picture(tensor.shape, rank, node.channels_last)))


@handles("GlobalAveragePool", "GlobalMaxPool", group=GROUP,
         becomes="streaming sum or maximum over the whole image")
def _global_pool(importer: "Importer", node: OnnxNode) -> None:
    source = importer.value(node)
    value = image(importer, source, False)
    kind = "global_max_pool" if node.op_type == "GlobalMaxPool" else "global_average_pool"
    layer, tensor = importer.emit(kind, value)
    importer.set(node, Value(layer, tensor, picture(tensor.shape, len(source.shape) - 2, False)))


@handles("ReduceMean", "ReduceSum", "ReduceMax", group=GROUP,
         becomes="pooling over whole rows, columns or images",
         limits="over height and width, not over channels")
def _reduce(importer: "Importer", node: OnnxNode) -> None:
    source = importer.value(node)
    rank = len(source.shape)
    axes = node.attributes.get("axes")
    if axes is None:
        given = importer.optional_constant(node, 1, "axes")
        axes = None if given is None else given.value.reshape(-1).tolist()
    if axes is None or rank not in (3, 4):
        raise Refusal(f"reduces a tensor {source.sizes()}; only height and width of images can be "
                      "reduced, with constant axes")
    chosen = sorted(int(a) % rank for a in axes)
    last = rank - 1 not in chosen and 1 in chosen
    spatial = list(range(1, rank - 1)) if last else list(range(2, rank))
    if not chosen or any(a not in spatial for a in chosen):
        raise Refusal(f"reduces axes {chosen} of a tensor {source.sizes()}; only height and width "
                      "can be reduced")
    value = image(importer, source, last)
    height, width, _ = value.tensor.shape
    along = [len(spatial) == 2 and spatial[0] in chosen, spatial[-1] in chosen]
    kernel = [height if along[0] else 1, width if along[1] else 1]
    kind = "max_pool" if node.op_type == "ReduceMax" else "average_pool"
    layer, tensor = importer.emit(kind, value, kernel=kernel, stride=kernel,
                                  part="mean" if node.op_type == "ReduceSum" else "")
    index = picture(tensor.shape, rank - 2, last)
    if not node.attributes.get("keepdims", 1):
        index = index.squeeze(tuple(chosen))
    result = Value(layer, tensor, index)
    if node.op_type == "ReduceSum":
        area = np.array([Fraction(kernel[0] * kernel[1])], dtype=object)
        result = affine(importer, node, result, area, None)
    importer.set(node, result)


@handles("QuantAvgPool2d", domain="qonnx", group=GROUP,
         becomes="streaming sum and a shift", limits="")
def _quant_average_pool(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    last = node.attributes.get("data_layout", "NCHW") == "NHWC"
    kernel, stride = (int(node.attributes.get(name, 1)) for name in ("kernel", "stride"))
    ibits, obits = (int(node.attributes.get(name, 1)) for name in ("ibits", "obits"))
    layer, tensor = importer.emit("average_pool", image(importer, value, last), part="sums",
                                  kernel=kernel, stride=stride)
    sums = Value(layer, tensor, picture(tensor.shape, 2, last))
    bits = ((2**ibits - 1) * kernel * kernel).bit_length()
    shift = max(bits - obits, 0)
    area = np.array([Fraction(kernel * kernel)], dtype=object)
    whole = affine(importer, node, sums, area, None, part="total")
    layer, tensor = importer.emit("quantize", whole, output_type=f"INT{min(32, bits + 2)}",
                                  scale=Fraction(2)**shift, rounding="floor", part="codes")
    importer.set(node, affine(importer, node, Value(layer, tensor, sums.index),
                              np.array([Fraction(1, 2**shift)], dtype=object), None))
