"""Reshapes, transposes and parts of tensors; most of them only say where elements are."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import REAL
from ..file import OnnxNode
from ..refusal import Refusal
from ..registry import handles
from ..values import Padded, Value
from .layout import image, picture

if TYPE_CHECKING:
    from ..importer import Importer

__all__ = ["part"]

GROUP = "Shapes"
FREE = "nothing: the weights behind it are permuted, not the data"


@handles("Identity", "Dropout", group=GROUP, becomes="nothing")
def _identity(importer: "Importer", node: OnnxNode) -> None:
    if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2]:
        mode = importer.constant(node, 2, "training mode").value
        if mode.any():
            raise Refusal("is in training mode; export the network in inference mode")
    importer.set(node, importer.value(node))


@handles("Cast", group=GROUP, becomes="nothing", limits="to a floating-point type")
def _cast(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    target = int(node.attributes.get("to", 1))
    if target not in (1, 10, 11, 16) and not value.host and not _is_index(importer, value):
        raise Refusal("casts a tensor to integers, which cuts fractions off; use a Quant node with "
                      "rounding_mode DOWN")
    importer.set(node, value)


def _is_index(importer: "Importer", value: Value) -> bool:
    return any(layer["name"] == value.layer and layer["type"] == "argmax"
               for layer in importer.layers)


@handles("Reshape", group=GROUP, becomes=FREE, limits="constant shape (shape chains are folded)")
def _reshape(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    wanted = importer.constant(node, 1, "shape").value.reshape(-1).tolist()
    if not node.attributes.get("allowzero", 0):
        wanted = [value.shape[n] if size == 0 and n < len(value.shape) else size
                  for n, size in enumerate(wanted)]
    try:
        index = value.index.reshape([int(size) for size in wanted])
    except ValueError:
        raise Refusal(f"can't make shape {wanted} of a tensor {value.sizes()}") from None
    importer.set(node, value.moved(index))


@handles("Flatten", group=GROUP, becomes=FREE)
def _flatten(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    axis = int(node.attributes.get("axis", 1))
    axis = axis + len(value.shape) if axis < 0 else axis
    rows = int(np.prod(value.shape[:axis]))
    importer.set(node, value.moved(value.index.reshape(rows, -1)))


def _axes(importer: "Importer", node: OnnxNode, rank: int) -> list[int] | None:
    """``axes``, an attribute in old opsets and an input in new ones; None if left out."""
    axes = node.attributes.get("axes")
    if axes is None:
        constant = importer.optional_constant(node, 1, "axes")
        axes = None if constant is None else constant.value.reshape(-1).tolist()
    return None if axes is None else sorted(int(a) % rank for a in axes)


@handles("Squeeze", group=GROUP, becomes=FREE)
def _squeeze(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    axes = _axes(importer, node, len(value.shape))
    if axes is None:
        axes = [a for a, size in enumerate(value.shape) if size == 1]
    bad = [a for a in axes if value.shape[a] != 1]
    if bad:
        raise Refusal(f"squeezes axis {bad[0]} of a tensor {value.sizes()}")
    importer.set(node, value.moved(value.index.squeeze(tuple(axes))))


@handles("Unsqueeze", group=GROUP, becomes=FREE)
def _unsqueeze(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    given = node.attributes.get("axes")
    if given is None:
        given = importer.constant(node, 1, "axes").value.reshape(-1).tolist()
    rank = len(value.shape) + len(given)
    importer.set(node, value.moved(np.expand_dims(value.index,
                                                  tuple(int(a) % rank for a in given))))


@handles("Transpose", group=GROUP,
         becomes=FREE + "; where pixels would have to move, a buffer of the whole tensor")
def _transpose(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    perm = node.attributes.get("perm") or list(range(len(value.shape)))[::-1]
    importer.set(node, value.moved(value.index.transpose([int(a) for a in perm])))


@handles("Expand", group=GROUP, becomes="nothing", limits="to the tensor's own shape only")
def _expand(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    shape = tuple(importer.constant(node, 1, "shape").value.reshape(-1).tolist())
    if np.broadcast_shapes(shape, value.shape) != value.shape:
        raise Refusal(f"repeats a tensor {value.sizes()} to {list(shape)}; only Resize (nearest) "
                      "can repeat")
    importer.set(node, value)


# Parts of tensors.

def part(importer: "Importer", node: OnnxNode, value: Value, index: np.ndarray,
         position: int = 0) -> None:
    """The elements ``index`` of a value as the output ``position``: a box is cut out, channels
    are selected, and what is left may only be in another order."""
    if not index.size:
        raise Refusal("selects nothing")
    _, width, channels = value.tensor.shape
    if value.movable and value.tensor.dtype == REAL:
        raise Refusal("cuts the network's input apart before it is quantized; put a quantizer in "
                      "front")
    value = value.moved(value.index, movable=False)  # its layout is settled from here on
    if value.index.size != int(np.prod(value.tensor.shape)):
        importer.set(node, value.moved(index), position)
        return
    flat = index.reshape(-1)
    rows, columns, chosen = flat // (width * channels), flat // channels % width, flat % channels
    axes = [np.unique(rows), np.unique(columns), np.unique(chosen)]
    box = int(np.prod([len(a) for a in axes]))
    if len(np.unique(flat)) != box:
        importer.set(node, value.moved(index), position)  # settled where it is read
        return
    layer, tensor = value.layer, value.tensor
    output = node.outputs[position]
    current = value
    for n, name in ((0, "rows"), (1, "columns")):
        steps = np.unique(np.diff(axes[n]))
        if len(axes[n]) == tensor.shape[n]:
            continue
        if len(steps) > 1:
            raise Refusal(f"selects {name} at uneven distances; equal steps can be built")
        step = int(steps[0]) if len(steps) else 1
        start, stop = int(axes[n][0]), int(axes[n][-1]) + 1
        if (start, stop) != (0, tensor.shape[n]):
            layer, tensor = importer.emit("crop", current, part=name, output=output,
                                          **{name: [start, stop]})
            current = Value(layer, tensor, value.index)
        if step > 1:
            stride = [step, 1] if n == 0 else [1, step]
            layer, tensor = importer.emit("subsample", current, part=f"every_{name}",
                                          output=output, stride=stride)
            current = Value(layer, tensor, value.index)
    count = len(axes[2])
    if count < channels:
        start = int(axes[2][0])
        if np.array_equal(axes[2], np.arange(start, start + count)):
            layer, tensor = importer.emit("crop", current, output=output,
                                          channels=[start, start + count])
        else:
            layer, tensor = importer.emit("select", current, output=output, indices=axes[2])
    place = np.searchsorted
    new = (place(axes[0], rows) * len(axes[1]) + place(axes[1], columns)) * count \
        + place(axes[2], chosen)
    importer.set(node, Value(layer, tensor, new.reshape(index.shape)), position)


@handles("Slice", group=GROUP, becomes="crop, channel selection or every n-th row and column; "
         "cropped beats are dropped", limits="constant bounds")
def _slice(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    rank = len(value.shape)
    if "starts" in node.attributes:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts = importer.constant(node, 1, "starts").value.reshape(-1).tolist()
        ends = importer.constant(node, 2, "ends").value.reshape(-1).tolist()
        given = importer.optional_constant(node, 3, "axes")
        axes = None if given is None else given.value.reshape(-1).tolist()
        given = importer.optional_constant(node, 4, "steps")
        steps = None if given is None else given.value.reshape(-1).tolist()
    axes = list(range(len(starts))) if axes is None else axes
    slices = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts)):
        if step < 0:
            raise Refusal("reverses an axis (negative step), which can't be built")
        slices[int(axis) % rank] = slice(int(start), int(end), int(step))
    part(importer, node, value, value.index[tuple(slices)])


@handles("Split", group=GROUP, becomes="a crop for each part, all of them one block",
         limits="constant sizes")
def _split(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    axis = int(node.attributes.get("axis", 0)) % len(value.shape)
    sizes = node.attributes.get("split")
    if sizes is None:
        given = importer.optional_constant(node, 1, "split")
        sizes = None if given is None else given.value.reshape(-1).tolist()
    if sizes is None:
        count = int(node.attributes.get("num_outputs", len(node.outputs)))
        each = -(-value.shape[axis] // count)
        sizes = [each] * (count - 1) + [value.shape[axis] - each * (count - 1)]
    if sum(sizes) != value.shape[axis]:
        raise Refusal(f"splits {value.shape[axis]} entries into {sizes}")
    pieces = np.split(value.index, np.cumsum([int(s) for s in sizes])[:-1], axis)
    for position, piece in enumerate(pieces):
        if position < len(node.outputs) and node.outputs[position]:
            part(importer, node, value, piece, position)


@handles("Gather", group=GROUP, becomes="channel selection or crop", limits="constant indices")
def _gather(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    indices = importer.constant(node, 1, "indices").value
    axis = int(node.attributes.get("axis", 0)) % len(value.shape)
    try:
        index = np.take(value.index, indices.astype(np.int64), axis=axis)
    except IndexError:
        raise Refusal(f"takes entries beyond the {value.shape[axis]} of axis {axis}") from None
    part(importer, node, value, index)


@handles("Pad", group=GROUP,
         becomes="padding, merged into the convolution behind it where there is one",
         limits="mode constant, on height and width")
def _pad(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise Refusal(f"pads in mode {mode!r}; only constant padding can be built")
    rank = len(value.shape)
    pads = node.attributes.get("pads")
    number = Fraction(float(np.float32(node.attributes.get("value", 0.0))))
    if pads is None:
        pads = importer.constant(node, 1, "pads").value.reshape(-1).tolist()
        given = importer.optional_constant(node, 2, "value")
        if given is not None:
            number = given.fractions().reshape(-1)[0]
        axes = importer.optional_constant(node, 3, "axes")
        if axes is not None:
            chosen = [int(a) % rank for a in axes.value.reshape(-1)]
            spread = [0] * 2 * rank
            for n, axis in enumerate(chosen):
                spread[axis], spread[axis + rank] = pads[n], pads[n + len(chosen)]
            pads = spread
    pads = [int(p) for p in pads]
    if not any(pads):
        importer.set(node, value)
        return
    if min(pads) < 0:
        raise Refusal(f"pads are negative ({pads}); use a Slice node")
    padded = [a for a in range(rank) if pads[a] or pads[a + rank]]
    last = rank in (3, 4) and rank - 1 not in padded and 1 in padded
    spatial = range(1, rank - 1) if last else range(2, rank)
    if rank not in (3, 4) or any(a not in spatial for a in padded):
        raise Refusal(f"pads axes {padded} of a tensor {value.sizes()}; only height and width can "
                      "be padded")
    sides = [(pads[a], pads[a + rank]) for a in spatial]
    if rank == 3:
        sides = [(0, 0), *sides]
    box = (*sides[0], *sides[1])
    source = image(importer, value, last)
    scale, offset = source.tensor.channel(0)
    code = (number - offset) / scale
    if len(source.tensor.scale) > 1 or len(source.tensor.offset) > 1 or code.denominator != 1:
        if number:
            raise Refusal(f"pads with {float(number):g}, which is no code of the tensor; pad "
                          "with 0, or with a multiple of its scale")
        whole: int | None = None  # the description says what real 0 is
    else:
        whole = int(code)
    fields: dict[str, Any] = {} if whole is None else {"pad_value": whole}
    layer, tensor = importer.emit("pad", source, pad=list(box), **fields)
    if not number:
        importer.pads[layer] = Padded(source, box, tensor.shape)
    importer.set(node, Value(layer, tensor, picture(tensor.shape, rank - 2, last)))


@handles("Resize", "Upsample", group=GROUP, becomes="upsampling: rows and columns repeated",
         limits="mode nearest, whole factors")
def _resize(importer: "Importer", node: OnnxNode) -> None:
    value = importer.value(node)
    rank = len(value.shape)
    if node.attributes.get("mode", "nearest") != "nearest":
        raise Refusal(f"interpolates ({node.attributes['mode']}); only mode nearest can be built")
    factors = _factors(importer, node, value)
    transform = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = node.attributes.get("nearest_mode", "round_prefer_floor")
    for axis, factor in enumerate(factors):
        if factor.denominator != 1 or factor < 1:
            raise Refusal(f"scales axis {axis} by {float(factor):g}; whole factors can be built")
        if factor > 1 and node.op_type == "Resize" \
                and not _repeats(int(factor), value.shape[axis], transform, nearest):
            raise Refusal(f"picks pixels with {transform} and {nearest}, which does not repeat "
                          "each pixel equally often; use asymmetric and floor")
    whole = [int(f) for f in factors]
    last = rank in (3, 4) and whole[-1] == 1 and whole[1] > 1
    spatial = whole[1:-1] if last else whole[2:]
    if rank not in (3, 4) or whole[0] != 1 or (whole[-1] if last else whole[1]) != 1:
        raise Refusal(f"scales a tensor {value.sizes()} by {whole}; only height and width can be "
                      "repeated")
    repeats = [1, *spatial] if rank == 3 else spatial
    if repeats == [1, 1]:
        importer.set(node, value)
        return
    layer, tensor = importer.emit("upsample", image(importer, value, last), factor=repeats)
    importer.set(node, Value(layer, tensor, picture(tensor.shape, rank - 2, last)))


def _factors(importer: "Importer", node: OnnxNode, value: Value) -> list[Fraction]:
    rank = len(value.shape)
    if "scales" in node.attributes:  # Upsample of opset 7
        return [Fraction(float(s)) for s in node.attributes["scales"]]
    newest = node.op_type == "Resize" and node.opset >= 11
    scales = importer.optional_constant(node, 2 if newest else 1, "scales")
    numbers: list[Fraction] | None = None
    if scales is not None and scales.value.size:
        numbers = [Fraction(float(s)) for s in scales.value.reshape(-1)]
    else:
        sizes = importer.optional_constant(node, 3, "sizes")
        if sizes is not None and sizes.value.size:
            axes = node.attributes.get("axes") or range(rank)
            given = sizes.value.reshape(-1).tolist()
            numbers = [Fraction(int(s), value.shape[a]) for s, a in zip(given, axes)]
    if numbers is None:
        raise Refusal("has neither scales nor sizes")
    if "axes" in node.attributes and len(numbers) < rank:
        full = [Fraction(1)] * rank
        for axis, number in zip(node.attributes["axes"], numbers):
            full[axis] = number
        numbers = full
    if len(numbers) != rank:
        raise Refusal(f"has {len(numbers)} scales for {rank} axes")
    return numbers


def _repeats(factor: int, size: int, transform: str, nearest: str) -> bool:
    """Whether output pixel x is input pixel x // factor for every x of an axis."""
    for x in range(factor * size):
        if transform in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
            place = (Fraction(2 * x + 1, 2)) / factor - Fraction(1, 2)
        elif transform == "asymmetric":
            place = Fraction(x, factor)
        elif transform == "align_corners":
            place = Fraction(x * (size - 1), max(factor * size - 1, 1))
        else:
            return False
        low = place.numerator // place.denominator
        rest = place - low
        half = Fraction(1, 2)
        up = {"floor": False, "ceil": rest > 0, "round_prefer_floor": rest > half,
              "round_prefer_ceil": rest >= half}[nearest]
        if min(max(low + up, 0), size - 1) != x // factor:
            return False
    return True


@handles("DepthToSpace", group=GROUP, becomes="a buffer of one row, read in another order",
         limits="modes DCR and CRD")
def _depth_to_space(importer: "Importer", node: OnnxNode) -> None:
    value = image(importer, importer.value(node), False)
    mode = str(node.attributes.get("mode", "DCR")).lower()
    layer, tensor = importer.emit("depth_to_space", value, mode=mode,
                                  block=int(node.attributes.get("blocksize", 1)))
    importer.set(node, Value(layer, tensor, picture(tensor.shape, 2, False)))


@handles("SpaceToDepth", group=GROUP, becomes="a sliding window whose windows don't overlap")
def _space_to_depth(importer: "Importer", node: OnnxNode) -> None:
    value = image(importer, importer.value(node), False)
    layer, tensor = importer.emit("space_to_depth", value,
                                  block=int(node.attributes.get("blocksize", 1)))
    importer.set(node, Value(layer, tensor, picture(tensor.shape, 2, False)))

