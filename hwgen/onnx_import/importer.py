"""From the ONNX graph to a model description, node by node."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pydantic import ValidationError

from ..errors import ModelError
from ..graph import REAL, ArrayForm, Tensor
from ..input_type import parse_input_type
from ..model import Model
from ..model.description import LAYER, LAYER_TYPES
from ..model.layers import Refusal as LayerRefusal
from ..model.layers import lower
from ..model.problems import field_problems
from ..types import NumType
from .constants import Constant
from .evaluate import evaluate
from .file import NetworkFile, OnnxNode, read_file
from .forms import array_form
from .names import Names
from .operators import find_handler
from .refusal import Refusal
from .values import Padded, Value

__all__ = ["Importer", "import_onnx", "translate"]

HOST_READERS = ("ArgMax", "Cast", "Flatten", "Identity", "Reshape", "Squeeze", "TopK", "Unsqueeze")
"""Operations that may follow one that is left to the host."""

REAL_LAYERS = ("affine", "batch_norm", "activation", "clamp", "leaky_relu", "quantize", "relu",
               "threshold")
"""Layers that a real-valued input may go through on the host."""


def import_onnx(path: str | Path | onnx.ModelProto, input_type: str | None = None) -> Model:
    """The model that an ONNX file describes.

    Parameters
    ----------
    path
        The file, or the model in memory.
    input_type
        ``TYPE`` or ``TYPE:SCALE``: how the host quantizes the input of a network that does not
        quantize it itself.

    Raises
    ------
    ModelError
        With one line: the file, the node, what can't be taken, and a way out.
    """
    return translate(path, input_type).model()


def translate(path: str | Path | onnx.ModelProto, input_type: str | None = None) -> "Importer":
    """The importer after the whole file; it knows which layer each tensor became."""
    file = read_file(path)
    quantizer = _parse_input_type(input_type, file.source)
    layout: np.ndarray | None = None
    tried: list[np.ndarray] = []
    while True:
        importer = None
        try:
            importer = Importer(file, quantizer, layout)
            importer.run()
        except Relayout as wish:
            if any(np.array_equal(wish.layout, other) for other in tried):
                raise ModelError(f"{file.source}: input {file.input}: is read in two layouts (as "
                                 "an image with channels first and last, or in two orders); "
                                 "transpose it behind a quantizer") from None
            layout = wish.layout
            tried.append(layout)
        except Refusal as refusal:
            place = importer.place if importer else "--input-type: "
            raise ModelError(f"{file.source}: {place}{refusal}") from None
        else:
            return importer


class Relayout(Exception):
    """The input is wanted in another layout: flat places of the file's input, (H, W, C)."""

    def __init__(self, layout: np.ndarray):
        super().__init__("another layout of the input")
        self.layout = layout


class Importer:
    """Reads the nodes in order, and collects the layers of the description.

    Parameters
    ----------
    file
        The graph.
    input_type
        Type and scale for an input without a quantizer; None if it brings its own.
    layout
        (H, W, C) flat places of the file's input; None for the usual one of its rank.
    """

    def __init__(self, file: NetworkFile, input_type: tuple[NumType, Fraction] | None,
                 layout: np.ndarray | None):
        self.file = file
        self.input_type = input_type
        self.place = ""
        self.names = Names()
        self.layers: list[dict[str, Any]] = []
        self.tensors: dict[str, Tensor] = {}
        self.constants = dict(file.constants)
        self.values: dict[str, Value] = {}
        self.pads: dict[str, Padded] = {}
        self._node: OnnxNode | None = None
        self._open_input(layout)

    # The walk.

    def run(self) -> None:
        """Translate every node that the output depends on."""
        wanted = self._wanted()
        for node in self.file.nodes:
            if not any(name in wanted for name in node.outputs):
                continue
            self.place, self._node = f"{node}: ", node
            dynamic = [name for name in node.inputs if name in self.values]
            if not dynamic or node.op_type == "Shape":
                self._fold(node, dynamic)
                continue
            find_handler(node)(self, node)
        self.place = f"output {self.file.output}: "
        if self.file.output in self.constants:
            raise Refusal("does not depend on the input")

    def _wanted(self) -> set[str]:
        wanted = {self.file.output}
        for node in reversed(self.file.nodes):
            if any(name in wanted for name in node.outputs):
                wanted.update(node.inputs)
        return wanted

    def _fold(self, node: OnnxNode, dynamic: Sequence[str]) -> None:
        """A node whose inputs are constant, or that asks for a shape only."""
        if dynamic:
            size = np.array(self.values[dynamic[0]].shape, dtype=np.int64)
            start, end = node.attributes.get("start", 0), node.attributes.get("end")
            results: tuple[Constant, ...] = (Constant(size[start:end]),)
        else:
            results = evaluate(node, [self.constants[i] if i else None for i in node.inputs])
        self.constants.update(zip(node.outputs, results))

    # What handlers ask for.

    def value(self, node: OnnxNode, position: int = 0) -> Value:
        """Input ``position``, which must depend on the network's input."""
        name = node.inputs[position]
        if name not in self.values:
            raise Refusal(f"input {name!r} is a constant, a tensor is needed there; swap the "
                          "operands")
        value = self.values[name]
        if value.host and node.op_type not in HOST_READERS:
            raise Refusal(f"reads {name!r} behind {value.host[-1]}, which has no exact integer "
                          "form and is left to the host; put a quantizer behind "
                          f"{value.host[-1]}, or end the network there")
        return value

    def constant(self, node: OnnxNode, position: int, what: str) -> Constant:
        """Input ``position``, which must be constant."""
        found = self.optional_constant(node, position, what)
        if found is None:
            raise Refusal(f"has no {what}; it must be given as a constant input {position}")
        return found

    def optional_constant(self, node: OnnxNode, position: int, what: str) -> Constant | None:
        """Like :meth:`constant`; None if the input is left out."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        name = node.inputs[position]
        if name not in self.constants:
            raise Refusal(f"{what} {name!r} is computed from the network's input; only constants "
                          "can be built into hardware")
        return self.constants[name]

    def is_constant(self, node: OnnxNode, position: int) -> bool:
        return node.inputs[position] in self.constants

    def set(self, node: OnnxNode, value: Value, position: int = 0) -> None:
        """Say what an output is."""
        self.values[node.outputs[position]] = value

    def has_one_reader(self, name: str) -> bool:
        """Whether one node reads a tensor of the file, and it is not the output."""
        readers = sum(node.inputs.count(name) for node in self.file.nodes)
        return readers == 1 and name != self.file.output

    def emit(self, kind: str, inputs: Value | Sequence[Value], *, part: str = "",
             output: str | None = None, **fields: Any) -> tuple[str, Tensor]:
        """Add a layer that reads the description's tensors of ``inputs``.

        Parameters
        ----------
        kind
            Type of the layer.
        inputs
            What it reads.
        part
            Which part of the node's work it is, for its name; empty for the last layer.
        output
            Tensor of the file that it makes, by default the node's first output.

        Returns
        -------
        str, Tensor
            Its name, and the tensor that it makes.
        """
        assert self._node is not None
        name = self.names.of(output or self._node.outputs[0], self._node.op_type, part)
        reads = [inputs] if isinstance(inputs, Value) else list(inputs)
        for value in reads:
            if value.movable and value.tensor.dtype == REAL and kind not in REAL_LAYERS:
                raise Refusal(self._unquantized())
            if value.pending:
                raise Refusal("reads a product of functions of one tensor, which can only be "
                              "quantized; put a quantizer in between")
        layer = {"name": name, "type": kind,
                 **({"input": inputs.layer} if isinstance(inputs, Value)
                    else {"inputs": [v.layer for v in reads]}), **fields}
        tensor = self._lowered(layer, [v.tensor for v in reads])
        self.layers.append(layer)
        self.tensors[name] = tensor
        return name, tensor

    def replace(self, position: int, **fields: Any) -> Tensor:
        """Change fields of a layer of one input that was emitted; the tensor it makes now."""
        layer = {**self.layers[position], **fields}
        tensor = self._lowered(layer, [self.tensors[layer["input"]]])
        self.layers[position] = layer
        self.tensors[layer["name"]] = tensor
        return tensor

    def _lowered(self, layer: dict[str, Any], inputs: list[Tensor]) -> Tensor:
        """The tensor that a layer makes; Refusal if the description does not allow it."""
        cls = LAYER_TYPES[layer["type"]]
        try:
            parsed = LAYER.validate_python(layer, context={})
        except ValidationError as error:
            text = "; ".join(f"{field} {text}" for field, text in
                             field_problems(error, cls, layer["type"]))
            raise Refusal(text) from None
        for field, text in parsed.problems():
            raise Refusal(f"{field} {text}")
        try:
            return lower(parsed, inputs, False)[-1].output
        except LayerRefusal as refusal:
            raise Refusal(f"{refusal.field}: {refusal.text}") from None

    # Layouts.

    def arranged(self, value: Value, want: np.ndarray) -> Value:
        """A value whose description's tensor is ``want``: flat places (H, W, C), in that order.

        The file's shape of the result is that of ``want``.
        """
        height, width, channels = want.shape
        size = int(np.prod(value.tensor.shape))
        natural = np.arange(want.size).reshape(want.shape)
        if value.movable and not (want.size == size and np.array_equal(want, natural)
                                  and want.shape == value.tensor.shape):
            raise Relayout(self.layout.reshape(-1)[want])
        if want.size == size and np.array_equal(want, natural):
            return self._reshaped(value, want.shape).moved(natural)
        if value.tensor.shape[:2] == (height, width):
            places = want.reshape(-1, channels) - \
                (np.arange(height * width) * value.tensor.shape[2])[:, None]
            if (places == places[0]).all() and places.min() >= 0 \
                    and places.max() < value.tensor.shape[2]:
                return self._selected(value, places[0], natural)
        flat = self._reshaped(value, (1, 1, size))
        moved = self._selected(flat, want.reshape(-1), np.arange(want.size).reshape(1, 1, -1))
        return self._reshaped(moved, want.shape).moved(natural)

    def _reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        if value.tensor.shape == tuple(shape):
            return value
        if shape[:2] == (1, 1):
            name, tensor = self.emit("flatten", value, part="flat")
        else:
            name, tensor = self.emit("reshape", value, part="shape", shape=list(shape))
        return replace(value, layer=name, tensor=tensor, expression=None)

    def _selected(self, value: Value, places: np.ndarray, index: np.ndarray) -> Value:
        """Channels ``places``, cheapest form first."""
        count = value.tensor.shape[2]
        if np.array_equal(places, np.arange(count)):
            return value.moved(index)
        start = int(places[0])
        if np.array_equal(places, np.arange(start, start + len(places))):
            name, tensor = self.emit("crop", value, part="crop",
                                     channels=[start, start + len(places)])
        else:
            name, tensor = self.emit("select", value, part="order", indices=places.astype(int))
        return replace(value, layer=name, tensor=tensor, index=index, expression=None)

    def flat(self, value: Value) -> Value:
        """The value as a vector of the description, its elements where they were."""
        if value.tensor.shape[:2] == (1, 1):
            return value
        if value.movable:
            raise Relayout(np.arange(self.layout.size).reshape(1, 1, -1))
        return self._reshaped(value, (1, 1, int(np.prod(value.tensor.shape))))

    def per_channel(self, value: Value, parameter: np.ndarray, what: str
                    ) -> tuple[Value, np.ndarray]:
        """A parameter that broadcasts over the file's tensor, one entry per channel or one for all.

        Returns the value (flattened, where entries differ within a channel) and the entries.
        """
        parameter = np.asarray(parameter)
        if parameter.size == 1:
            return value, parameter.reshape(1)
        try:
            full = np.broadcast_to(parameter, value.shape)
        except ValueError:
            raise Refusal(f"{what} has shape {list(parameter.shape)}, which does not fit the "
                          f"tensor's {value.sizes()}") from None
        if (full == full.reshape(-1)[0]).all():
            return value, full.reshape(-1)[:1]
        size = int(np.prod(value.tensor.shape))
        ours = np.empty(size, dtype=parameter.dtype)
        ours[:] = full.reshape(-1)[0]  # elements that a crop left unread
        ours[value.index.reshape(-1)] = full.reshape(-1)
        rows = ours.reshape(-1, value.tensor.shape[2])
        if (rows == rows[0]).all():
            return value, rows[0]
        if value.movable:
            varying = [a for a in range(1, full.ndim)
                       if (full != full.take([0], axis=a)).any()]
            if len(varying) == 1 and value.index.ndim > 2:
                want = np.moveaxis(value.index[0], varying[0] - 1, -1)
                want = want.reshape(-1, *want.shape[-2:]) if want.ndim > 2 else want[None]
                raise Relayout(self.layout.reshape(-1)[want])
        return self.flat(value), ours

    def _open_input(self, layout: np.ndarray | None) -> None:
        """The first value: the input, in the layout that its reader wants."""
        shape = self.file.input_shape
        places = np.arange(int(np.prod(shape))).reshape(shape[1:])
        if layout is None:
            layout = places.reshape(1, 1, -1) if places.ndim == 1 else \
                places.T[None] if places.ndim == 2 else places.transpose(1, 2, 0)
        self.layout = layout
        index = np.empty(places.size, dtype=np.int64)
        index[layout.reshape(-1)] = np.arange(places.size)
        name = self.names.of(self.file.input, "input")
        height, width, channels = layout.shape
        tensor = Tensor((height, width, channels), REAL)
        self.tensors[name] = tensor
        self.input = name
        value = Value(name, tensor, index.reshape(shape), movable=True)
        if self.input_type is not None:
            dtype, scale = self.input_type
            self._node = OnnxNode("Quant", "", self.file.input, (),
                                  (self.file.input + "_quantized",), {}, 1)
            layer, tensor = self.emit("quantize", value, output_type=dtype.name, scale=scale)
            value = replace(value, layer=layer, tensor=tensor)
        self.values[self.file.input] = value

    # The description.

    def model(self) -> Model:
        """The description as a model; ModelError with what is wrong in it."""
        value = self.values[self.file.output]
        settled = value.settled or value
        if settled.tensor.dtype == REAL:
            raise ModelError(f"{self.file.source}: {self._unquantized()}")
        try:
            form = array_form(settled.index[0], settled.tensor.shape)
            if form is None:
                self.place = f"output {self.file.output}: "
                settled = self.arranged(settled, settled.index.reshape(1, 1, -1))
                form = ArrayForm(value.shape[1:], value.shape[1:],
                                 tuple(range(len(value.shape) - 1)))
            given = array_form(self._places(), self.tensors[self.input].shape)
            if given is None:
                raise Refusal(f"input {self.file.input}: its elements are read in an order that "
                              "is no transposition; permute them before the network")
        except Refusal as refusal:
            raise ModelError(f"{self.file.source}: {refusal}") from None
        head: dict[str, Any] = {
            "format": "hwgen-model", "version": 1, "name": self.file.name,
            "description": f"imported from {self.file.source}",
            "input": {"name": self.input, "shape": self._short_shape(), "type": "FLOAT",
                      "form": _form_fields(given)},
            "output": settled.layer, "output_form": _form_fields(form),
            "layers": self._needed(settled.layer)}
        host = (*value.trail, *value.host)
        if host:
            head["host_tail"] = list(host)
        return Model.from_parts(head, {}, self.file.source)

    def _places(self) -> np.ndarray:
        """For each element of the file's input, its flat place in the tensor."""
        places = np.empty(self.layout.size, dtype=np.int64)
        places[self.layout.reshape(-1)] = np.arange(self.layout.size)
        return places.reshape(self.file.input_shape[1:])

    def _short_shape(self) -> list[int]:
        height, width, channels = self.layout.shape
        if (height, width) == (1, 1):
            return [channels]
        if height == 1 and len(self.file.input_shape) == 3:
            return [width, channels]
        return [height, width, channels]

    def _needed(self, output: str) -> list[dict[str, Any]]:
        """The layers that the output depends on."""
        wanted, result = {output}, []
        for layer in reversed(self.layers):
            if layer["name"] in wanted:
                wanted.update(layer.get("inputs", [layer.get("input")]))
                result.append(layer)
        return result[::-1]

    def _unquantized(self) -> str:
        return (f"input {self.file.input}: the network does not quantize it; put a Quant node "
                "behind it, or say how the host quantizes it with --input-type TYPE:SCALE, e.g. "
                "--input-type INT8:0.0078125")


def _form_fields(form: ArrayForm) -> dict[str, list[int]]:
    return {"shape": list(form.shape), "view": list(form.view), "axes": list(form.axes)}


def _parse_input_type(text: str | None, source: str) -> tuple[NumType, Fraction] | None:
    try:
        return None if text is None else parse_input_type(text)
    except ValueError as error:
        raise ModelError(f"{source}: --input-type {text}: {error}") from None
