"""The golden model on a user's arrays: what `hwgen golden` computes.

Arrays are [frames] + the model's own shape, in the model's own layout. In the model's own units
they hold real numbers, real = scale * integer + offset; raw, they hold the integers.
"""

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from .errors import ModelError
from .files import load_array
from .front import quantize_input
from .graph import Graph
from .passes import run_pipeline
from .passes.rewrite import prune
from .real_ops import REAL, Clamp, Quantize, RealThreshold

__all__ = ["from_user", "golden", "golden_part", "load_input", "model_output", "run_in_batches"]

TOLERANCE = 1e-3  # of a step: what float32 input may be off by
BATCH_ELEMENTS = 1 << 22  # of the largest tensor, at a time


def golden(graph: Graph, x: np.ndarray, raw: bool = False, layer: str | None = None) -> np.ndarray:
    """Run the golden model on an array.

    Parameters
    ----------
    graph
        Before or after the passes.
    x
        [frames] + the model's input shape: real numbers, or integers if ``raw``.
    raw
        Whether ``x`` and the result hold integers.
    layer
        Name of the tensor wanted, the output by default: one of ``graph`` that holds integers, or
        one that only exists after the passes.

    Returns
    -------
    np.ndarray
        float64, int64 if ``raw``; shape as :func:`model_output` says.

    Raises
    ------
    ModelError
        The input is not one of this model, or there is no such layer.
    """
    part = golden_part(graph, layer)
    return model_output(part, run_in_batches(part, from_user(graph, x, raw)), raw)


def golden_part(graph: Graph, layer: str | None = None) -> Graph:
    """The nodes that make the tensor ``layer``, by default the output, folded to integers.

    Raises
    ------
    ModelError
        There is no such layer, or it holds real numbers.
    """
    if layer is None or layer == graph.output:
        return _folded(graph)
    tensors = graph.tensors()
    if layer in tensors:
        if tensors[layer].dtype == REAL:
            raise ModelError(f"{layer}: holds real numbers, not integers; choose the quantizer "
                             f"behind it or the layer before")
        # The tensor as the model has it: passes move biases from one tensor to the next.
        return _folded(prune(replace(graph, output=layer, output_form=None)))
    whole = _folded(graph)
    if layer in whole.tensors():
        return prune(replace(whole, output=layer, output_form=None))
    names = [n for n, t in (tensors | whole.tensors()).items() if t.dtype != REAL]
    close = get_close_matches(layer, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
    raise ModelError(f"{layer}: no layer has this name; {hint}")


def run_in_batches(part: Graph, codes: np.ndarray) -> np.ndarray:
    """Output integers (frames, H, W, C) for input integers, a few frames at a time."""
    batches = [part.run(batch) for batch in _batches(part, codes)]
    return np.concatenate(batches) if batches else \
        np.empty((0, *part.tensor(part.output).shape), dtype=np.int64)


def load_input(graph: Graph, path: str | Path, raw: bool = False) -> np.ndarray:
    """Integers (frames, H, W, C) for a graph's input, from an ``.npy`` file.

    Raises
    ------
    ModelError
        The file can't be read, or is not an input of this model.
    """
    x = load_array(path)
    try:
        return from_user(graph, x, raw)
    except ModelError as error:
        raise ModelError(*(f"{path}: {problem}" for problem in error.problems)) from None


def from_user(graph: Graph, x: np.ndarray, raw: bool = False) -> np.ndarray:
    """Integers (frames, H, W, C) from an array in a user's form.

    A network that quantizes its input (``graph.front``) takes any real numbers. Otherwise a real
    number stands for the nearest integer of the input's type, from which it may be 1/1000 of a
    step away. ModelError names the first value that is none.
    """
    x, tensor = np.asarray(x), graph.input_tensor
    name = graph.front.name if graph.front and not raw else graph.input
    wanted = ["frames", *graph.input_shape]
    if x.dtype.kind not in "biuf":
        raise ModelError(f"{name}: array holds {x.dtype}, expected integers or floating-point "
                         f"numbers")
    if x.shape == graph.input_shape:
        raise ModelError(f"{name}: array has shape {_shape(x.shape)}, expected {_shape(wanted)}; "
                         f"add the dimension of frames in front (x[None])")
    if x.shape[1:] != graph.input_shape:
        raise ModelError(f"{name}: array has shape {_shape(x.shape)}, expected {_shape(wanted)}")
    codes = np.empty((len(x), *tensor.shape), dtype=np.int64)
    step = max(1, BATCH_ELEMENTS // int(np.prod(tensor.shape)))
    for first in range(0, len(x), step):
        part = x[first:first + step]
        codes[first:first + step] = _codes(graph, part, first, raw)
    return codes


def model_output(graph: Graph, codes: np.ndarray, raw: bool = False,
                 layer: str | None = None) -> np.ndarray:
    """Integers (frames, H, W, C) of a tensor, the output by default, in the user's form.

    The output has the form that its author gave, else, like inner tensors: a vector (H = W = 1)
    is [frames, C]; in a network on 1-D data (input of one or two dimensions) a tensor is
    [frames, length, C]; else it is [frames, H, W, C]. The input keeps the form its author gave.
    float64 in the model's units, or int64 if ``raw``.
    """
    name = layer or graph.output
    tensor = graph.tensor(name)
    codes = np.asarray(codes, dtype=np.int64)
    values = codes if raw else tensor.to_real(codes)
    if name == graph.input:
        return graph.input_form.from_tensor(values)
    if name == graph.output and graph.output_form is not None:
        return graph.output_form.from_tensor(values)
    height, width, channels = tensor.shape
    shape: tuple[int, ...] = tensor.shape
    if (height, width) == (1, 1):
        shape = (channels,)
    elif height == 1 and graph.is_line:
        shape = (width, channels)
    return values.reshape(len(codes), *shape)


def _codes(graph: Graph, array: np.ndarray, first: int, raw: bool) -> np.ndarray:
    """Integers of one batch of user's arrays that starts at frame ``first``."""
    tensor, form = graph.input_tensor, graph.input_form
    x = form.to_tensor(array, tensor.shape)
    if graph.front is not None and not raw:
        good = np.isfinite(x.astype(np.float64))
        if not good.all():
            place, value = _first_bad(graph, array, good)
            raise ModelError(f"{graph.front.name}: frame {first + place[0]}, index "
                             f"{_shape(place[1:])}: {value} is no finite number")
        return quantize_input(graph.front, x)
    if raw:
        steps = x.astype(np.float64) if x.dtype.kind == "f" else x
    else:
        scale = np.array([float(s) for s in tensor.scale])
        steps = (x.astype(np.float64) - [float(o) for o in tensor.offset]) / scale
    nearest = np.rint(steps) if steps.dtype.kind == "f" else steps
    tolerance = 0 if raw else TOLERANCE
    # Comparing before converting: beyond int64 and NaN there is nothing to convert to.
    with np.errstate(invalid="ignore"):  # infinity - infinity
        good = (nearest >= tensor.dtype.low) & (nearest <= tensor.dtype.high)
        if steps.dtype.kind == "f":
            good &= abs(steps - nearest) <= tolerance
    if tensor.dtype.bipolar:
        good &= nearest != 0
    if not good.all():
        place, value = _first_bad(graph, array, good)
        where = f"{graph.input}: frame {first + place[0]}, index {_shape(place[1:])}: {value}"
        if raw:
            raise ModelError(f"{where} is not a {tensor.dtype}")
        code = form.from_tensor(steps)[place]
        raise ModelError(f"{where} is {code:.6g} steps of scale {_numbers(tensor.scale)} from "
                         f"offset {_numbers(tensor.offset)}, not a {tensor.dtype}; quantize the "
                         f"input to that, or pass its integers with --raw")
    return nearest.astype(np.int64)


def _first_bad(graph: Graph, array: np.ndarray, good: np.ndarray) -> tuple[tuple[int, ...], object]:
    """Index and value of the first entry of the user's array that is not ``good``."""
    place = tuple(int(i) for i in np.argwhere(~graph.input_form.from_tensor(good))[0])
    return place, array[place]


def _folded(graph: Graph) -> Graph:
    """The graph without exact fractions, which are slow; as it is if it has none."""
    if any(isinstance(n.op, Clamp | Quantize | RealThreshold) for n in graph.nodes):
        return run_pipeline(graph)
    return graph


def _batches(graph: Graph, codes: np.ndarray) -> Iterator[np.ndarray]:
    """A few frames at a time, to bound memory."""
    largest = max(int(np.prod(t.shape)) for t in graph.tensors().values())
    step = max(1, BATCH_ELEMENTS // largest)
    for first in range(0, len(codes), step):
        yield codes[first:first + step]


def _shape(sizes) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _numbers(values) -> str:
    low, high = float(min(values)), float(max(values))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
