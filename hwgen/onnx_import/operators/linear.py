"""Convolutions and matrix products."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants import Constant, Weights, weights_of
from ..file import OnnxNode
from ..refusal import Refusal
from ..registry import handles
from ..values import Value
from .elementwise import affine
from .layout import image, picture

if TYPE_CHECKING:
    from ..importer import Importer

__all__ = ["axis_pads"]

GROUP = "Convolutions and dense layers"


def two(values: Sequence[int] | None, default: int, rank: int) -> tuple[int, int]:
    """(vertical, horizontal) of an attribute; 1-D data have the default vertically."""
    given = [default] * rank if not values else [int(v) for v in values]
    if len(given) != rank:
        raise Refusal(f"has an attribute of {len(given)} entries for {rank} axes")
    return (default, given[0]) if rank == 1 else (given[0], given[1])


def axis_pads(node: OnnxNode, size: Sequence[int], extent: Sequence[int], stride: Sequence[int],
              rank: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) from ``pads`` or ``auto_pad``."""
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sides: list[int] = []
        for n in range(2):
            missing = max((-(-size[n] // stride[n]) - 1) * stride[n] + extent[n] - size[n], 0)
            less, more = missing // 2, missing - missing // 2
            sides += [less, more] if auto == "SAME_UPPER" else [more, less]
        return (sides[0], sides[1], sides[2], sides[3])
    if auto == "VALID":
        return (0, 0, 0, 0)
    if auto != "NOTSET":
        raise Refusal(f"auto_pad {auto!r} is unknown")
    pads = [int(p) for p in node.attributes.get("pads") or [0] * 2 * rank]
    if len(pads) != 2 * rank:
        raise Refusal(f"pads has {len(pads)} entries, {2 * rank} are needed")
    if min(pads) < 0:
        raise Refusal(f"pads are negative ({pads}); crop with a Slice node instead")
    if rank == 1:
        return (0, 0, pads[0], pads[1])
    return (pads[0], pads[2], pads[1], pads[3])


def _kernel_array(weights: np.ndarray, rank: int) -> np.ndarray:
    """(out, in, kernel...) as (out, in, kernel height, kernel width)."""
    return weights[:, :, None] if rank == 1 else weights


def _biased(importer: "Importer", node: OnnxNode, kind: str, value: Value, bias: Constant | None,
            index: np.ndarray, outputs: int, of: Weights, **fields: Any) -> Value:
    """A layer with weights, and its bias: in integers where it is that, else as an offset.

    ``index`` is for the file's shape of the output; entry c of the bias belongs to channel c;
    ``of`` are the weights.
    """
    if bias is None or not bias.value.any():
        layer, tensor = importer.emit(kind, value, **fields)
        return Value(layer, tensor, index)
    if bias.value.size not in (1, outputs):
        raise Refusal(f"bias has {bias.value.size} entries for {outputs} output channels")
    numbers = np.broadcast_to(bias.fractions().reshape(-1), outputs)
    spread = value.tensor.scale
    if len(spread) == 1 and spread[0]:
        steps = [b / (spread[0] * of.scale[c % len(of.scale)])
                 for c, b in enumerate(numbers)]
        if all(s.denominator == 1 and abs(s) < 1 << 46 for s in steps):
            layer, tensor = importer.emit(kind, value,
                                          bias=np.array([int(s) for s in steps]), **fields)
            return Value(layer, tensor, index)
    layer, tensor = importer.emit(kind, value, part="sums", **fields)
    channel = index % tensor.shape[2]
    return affine(importer, node, Value(layer, tensor, index), None, numbers[channel])


def _fields(weights: Weights, codes: np.ndarray) -> dict[str, Any]:
    return {"weights": np.ascontiguousarray(codes), "weight_type": weights.dtype.name,
            "weight_scale": list(weights.scale) if len(weights.scale) > 1 else weights.scale[0]}


@handles("Conv", group=GROUP,
         becomes="convolution: any kernel, stride, dilation, padding and number of groups, 1-D and "
                 "2-D; also channels last (qonnx.custom_op.channels_last)",
         limits="weights quantized (or multiples of one step), up to 16 bits, one scale per output "
                "channel")
def _conv(importer: "Importer", node: OnnxNode) -> None:
    source = importer.value(node)
    rank = len(source.shape) - 2
    if rank not in (1, 2):
        raise Refusal(f"convolves a tensor {source.sizes()}; 1-D and 2-D convolutions can be built")
    constant = importer.constant(node, 1, "weights")
    if node.channels_last:  # (out, kernel..., in) to (out, in, kernel...)
        constant = constant.moved(lambda a: np.moveaxis(a, -1, 1))
    if constant.value.ndim != rank + 2:
        raise Refusal(f"weights have shape {list(constant.value.shape)}, [out, in, kernel] of "
                      f"{rank + 2} dimensions are needed")
    weights = weights_of(constant, 0, "weights")
    kernel = _kernel_array(weights.codes, rank)
    groups = int(node.attributes.get("group", 1))
    stride = two(node.attributes.get("strides"), 1, rank)
    dilation = two(node.attributes.get("dilations"), 1, rank)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation)]
    padded = importer.pads.get(source.layer)
    value = image(importer, source, node.channels_last)
    pads = axis_pads(node, value.tensor.shape[:2], extent, stride, rank)
    if padded and value.layer == source.layer:  # one padding instead of two
        value = padded.source
        pads = tuple(p + q for p, q in zip(pads, padded.pad))  # type: ignore[assignment]
    channels = value.tensor.shape[2]
    if kernel.shape[1] * groups != channels:
        raise Refusal(f"weights take {kernel.shape[1]} channels in {groups} groups, the tensor "
                      f"{source.sizes()} has {channels}"
                      + (" (is it channels last?)" if kernel.shape[1] in source.shape else ""))
    if kernel.shape[0] % groups:
        raise Refusal(f"{kernel.shape[0]} output channels can't be split into {groups} groups")
    bias = importer.optional_constant(node, 2, "bias")
    size = [(value.tensor.shape[n] + pads[2 * n] + pads[2 * n + 1] - extent[n]) // stride[n] + 1
            for n in range(2)]
    index = picture((size[0], size[1], kernel.shape[0]), rank, node.channels_last)
    importer.set(node, _biased(
        importer, node, "conv2d", value, bias, index, kernel.shape[0], weights,
        stride=list(stride), dilation=list(dilation), pad=list(pads), groups=groups,
        **_fields(weights, kernel.transpose(2, 3, 1, 0))))


@handles("ConvTranspose", group=GROUP,
         becomes="transposed convolution, any stride: zeros inserted, then a convolution",
         limits="as Conv; no output_shape; pads at most (kernel - 1) * dilation")
def _conv_transpose(importer: "Importer", node: OnnxNode) -> None:
    source = importer.value(node)
    rank = len(source.shape) - 2
    if rank not in (1, 2):
        raise Refusal(f"convolves a tensor {source.sizes()}; 1-D and 2-D convolutions can be built")
    if node.attributes.get("output_shape"):
        raise Refusal("states output_shape; give pads and output_padding instead")
    groups = int(node.attributes.get("group", 1))
    constant = importer.constant(node, 1, "weights")  # (in, out / groups, kernel...)
    value = image(importer, source, False)
    inputs, per_group = constant.value.shape[:2]
    if inputs != value.tensor.shape[2] or inputs % groups:
        raise Refusal(f"weights take {inputs} channels, the tensor {source.sizes()} has "
                      f"{value.tensor.shape[2]}")

    def outputs_last(array: np.ndarray) -> np.ndarray:
        """(in, out / groups, kernel) to (kernel, in / groups, out)."""
        kernel = array.shape[2:] if rank == 2 else (1, array.shape[2])
        split = array.reshape(groups, inputs // groups, per_group, *kernel)
        return split.transpose(3, 4, 1, 0, 2).reshape(*kernel, inputs // groups, -1)

    weights = weights_of(constant.moved(outputs_last), 3, "weights")
    stride = two(node.attributes.get("strides"), 1, rank)
    dilation = two(node.attributes.get("dilations"), 1, rank)
    extra = two(node.attributes.get("output_padding"), 0, rank)
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise Refusal("states auto_pad; give pads instead")
    pads = axis_pads(node, (1, 1), (1, 1), (1, 1), rank)
    kernel = weights.codes.shape
    size = [(value.tensor.shape[n] - 1) * stride[n] + (kernel[n] - 1) * dilation[n] + 1 + extra[n]
            - pads[2 * n] - pads[2 * n + 1] for n in range(2)]
    if min(size) < 1:
        raise Refusal(f"makes an output of {size[0]} x {size[1]}")
    index = picture((size[0], size[1], kernel[3]), rank, False)
    importer.set(node, _biased(
        importer, node, "conv_transpose2d", value, importer.optional_constant(node, 2, "bias"),
        index, kernel[3], weights, stride=list(stride), dilation=list(dilation), pad=list(pads),
        output_padding=list(extra), groups=groups, **_fields(weights, weights.codes)))


@handles("MatMul", group=GROUP,
         becomes="dense layer; on sequences and images a convolution of 1 x 1",
         limits="one operand constant, weights as for Conv")
def _matmul(importer: "Importer", node: OnnxNode) -> None:
    if importer.is_constant(node, 0):
        raise Refusal("has constant weights on the left; transpose the product, so that the "
                      "tensor is on the left")
    if not importer.is_constant(node, 1):
        raise Refusal("multiplies two tensors that both depend on the input (as attention does), "
                      "which has no hardware block; only products with constant weights can be "
                      "built")
    _product(importer, node, importer.value(node), importer.constant(node, 1, "weights"), None)


@handles("Gemm", group=GROUP, becomes="dense layer",
         limits="constant weights and bias, alpha and beta any number")
def _gemm(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    if node.attributes.get("transA", 0):
        raise Refusal("transposes its input (transA); give the batch first")
    constant = importer.constant(node, 1, "weights")
    if node.attributes.get("transB", 0):
        constant = constant.moved(lambda a: a.T)
    bias = importer.optional_constant(node, 2, "bias")
    alpha, beta = (float(np.float32(node.attributes.get(name, 1.0))) for name in ("alpha", "beta"))
    if alpha != 1:
        constant = constant.scaled(alpha)
    if bias is not None and beta != 1:
        bias = bias.scaled(beta)
    _product(importer, node, value, constant, bias)


def _product(importer: "Importer", node: OnnxNode, value: Value, constant: Constant,
             bias: Constant | None) -> None:
    """``value @ constant + bias``, weights [inputs, outputs]."""
    if constant.value.ndim != 2:
        raise Refusal(f"weights have shape {list(constant.value.shape)}; [inputs, outputs] are "
                      "needed")
    inputs, outputs = constant.value.shape
    if value.shape[-1] != inputs:
        raise Refusal(f"weights take {inputs} inputs, the tensor {value.sizes()} has "
                      f"{value.shape[-1]}")
    weights = weights_of(constant, 1, "weights")
    if value.index.size == inputs:  # one vector: the weights are permuted, not the data
        flat = importer.flat(value)
        codes = np.zeros((flat.tensor.shape[2], outputs), dtype=np.int64)
        np.add.at(codes, flat.index.reshape(-1), weights.codes)
        if len(codes) > inputs or len(np.unique(flat.index)) < inputs:
            used, places = np.unique(flat.index.reshape(-1), return_inverse=True)
            flat = importer.arranged(flat, used.reshape(1, 1, -1))
            codes = np.zeros((len(used), outputs), dtype=np.int64)
            np.add.at(codes, places, weights.codes)
            weights = weights_of(Constant(codes, codes, _steps(weights, outputs)), 1, "weights")
            codes = weights.codes
        index = np.arange(outputs).reshape(*value.shape[:-1], outputs)
        importer.set(node, _biased(importer, node, "dense", flat, bias, index, outputs, weights,
                                   **_fields(weights, codes)))
        return
    if len(value.shape) not in (3, 4):
        raise Refusal(f"multiplies a tensor {value.sizes()}; vectors, sequences and images can be "
                      "built")
    rows = value.index.reshape(-1, *value.shape[-2:]) if len(value.shape) == 4 else value.index
    pixels = importer.arranged(value, rows)
    shape = (*pixels.tensor.shape[:2], outputs)
    index = np.arange(int(np.prod(shape))).reshape(*value.shape[:-1], outputs)
    importer.set(node, _biased(importer, node, "conv2d", pixels, bias, index, outputs, weights,
                               **_fields(weights, weights.codes[None, None])))


def _steps(weights: Weights, outputs: int) -> np.ndarray:
    scale = np.array([float(s) for s in weights.scale])
    return scale if len(scale) == 1 else np.array(np.broadcast_to(scale, (1, outputs)))

