"""The ONNX file: its graph as plain objects, in topological order, with clear refusals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from ..errors import ModelError
from .constants import Constant
from .refusal import Refusal

__all__ = ["NetworkFile", "OnnxNode", "read_file"]

CHANNELS_LAST = "qonnx.custom_op.channels_last"
STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class OnnxNode:
    """A node of the file.

    Parameters
    ----------
    op_type, domain
        As in the file; the standard domain is "".
    name
        For messages: the node's own name, or what it makes.
    inputs, outputs
        Names of tensors; "" for an optional one that is left out.
    attributes
        Python values; tensors are arrays.
    opset
        Version of the standard operators.
    """

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    @property
    def channels_last(self) -> bool:
        """Whether the node computes on (N, ..., C)."""
        return self.domain == CHANNELS_LAST

    def __str__(self) -> str:
        return f"{self.op_type} {self.name}"


@dataclass(frozen=True)
class NetworkFile:
    """What the file says.

    Parameters
    ----------
    name
        Name of the network, good for a description.
    source
        Name of the file, for messages.
    nodes
        In topological order.
    constants
        Initializers by name.
    input, input_shape
        The one tensor that enters, its shape with a batch dimension of 1.
    output
        The one tensor that leaves.
    """

    name: str
    source: str
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Constant]
    input: str
    input_shape: tuple[int, ...]
    output: str


def read_file(path: str | Path | onnx.ModelProto) -> NetworkFile:
    """Read and check an ONNX file (or a model in memory).

    Raises
    ------
    ModelError
        It can't be read, is none, or has not one input, one output and fixed sizes.
    """
    if isinstance(path, onnx.ModelProto):
        source = path.graph.name or "model"
        model = path
    else:
        path = Path(path)
        source = path.name
        model = _load(path)
    try:
        return _network(model, source)
    except Refusal as refusal:
        raise ModelError(f"{source}: {refusal}") from None


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except FileNotFoundError as error:
        missing = path if not path.exists() else error.filename
        raise ModelError(f"{missing}: no such file") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: is a folder; give the .onnx file in it") from None
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror or error}") from None
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "broken"
        raise ModelError(f"{path}: not an ONNX file ({reason}); export the network with "
                         "brevitas.export.export_qonnx, qonnx or torch.onnx") from None
    if not model.graph.node:
        raise ModelError(f"{path}: not an ONNX file, or one without nodes; export the network "
                         "again")
    return model


def _network(model: onnx.ModelProto, source: str) -> NetworkFile:
    graph = model.graph
    if model.functions:
        names = ", ".join(sorted({f.name for f in model.functions}))
        raise Refusal(f"holds local functions ({names}), which can't be read; inline them with "
                      "onnx.inliner.inline_local_functions")
    if graph.sparse_initializer:
        raise Refusal("holds sparse initializers, which can't be read; store them dense")
    constants = {i.name: Constant.of(_array(i, i.name)) for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise Refusal(f"has {len(inputs)} inputs ({', '.join(i.name for i in inputs) or 'none'}), "
                      "a network with one input can be built; cut the graph at one tensor")
    if len(graph.output) != 1:
        raise Refusal(f"has {len(graph.output)} outputs ({', '.join(o.name for o in graph.output)})"
                      ", a network with one output can be built; concatenate them, or cut the "
                      "graph before they part")
    opset = next((o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS), 1)
    nodes = _sorted(_nodes(graph, opset), {inputs[0].name, *constants})
    return NetworkFile(_network_name(graph.name, source), source, nodes, constants,
                       inputs[0].name, _input_shape(inputs[0]), graph.output[0].name)


def _array(tensor: onnx.TensorProto, name: str) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (TypeError, ValueError, OSError) as error:
        raise Refusal(f"{name}: can't be read: {' '.join(str(error).split())}") from None


def _nodes(graph: onnx.GraphProto, opset: int) -> list[OnnxNode]:
    nodes = []
    for proto in graph.node:
        name = proto.name or next((o for o in proto.output if o), "")
        attributes = {}
        for attribute in proto.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.GraphProto) or attribute.graphs:
                raise Refusal(f"{proto.op_type} {name}: holds a graph of its own (control flow); "
                              "export the network without it, e.g. with constant folding")
            if isinstance(value, onnx.TensorProto):
                value = _array(value, f"{proto.op_type} {name}")
            elif isinstance(value, bytes):
                value = value.decode()
            attributes[attribute.name] = value
        domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
        nodes.append(OnnxNode(proto.op_type, domain, name, tuple(proto.input),
                              tuple(proto.output), attributes, opset))
    return nodes


def _sorted(nodes: list[OnnxNode], known: set[str]) -> tuple[OnnxNode, ...]:
    """Topological order; files that are not in it exist."""
    known, result, waiting = {"", *known}, [], nodes
    while waiting:
        later = []
        for node in waiting:
            if all(name in known for name in node.inputs):
                known.update(node.outputs)
                result.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            node = later[0]
            missing = next(name for name in node.inputs if name not in known)
            raise Refusal(f"{node}: reads {missing!r}, which nothing makes; export the network "
                          "again")
        waiting = later
    return tuple(result)


def _input_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Shape of the input with a batch of 1."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise Refusal(f"input {value.name}: its shape is not stated; set it, e.g. [1, 3, 32, 32]")
    sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
    shown = [d.dim_param or d.dim_value or "?" for d in kind.shape.dim]
    text = f"[{', '.join(map(str, shown))}]"
    if len(sizes) < 2:
        raise Refusal(f"input {value.name}: has shape {text}; a batch dimension in front is "
                      "needed, e.g. [1, 16]")
    if any(size < 1 for size in sizes[1:]):
        raise Refusal(f"input {value.name}: has shape {text}; every size but the batch must be "
                      "fixed: hardware is built for one size")
    if sizes[0] > 1:
        raise Refusal(f"input {value.name}: has shape {text}, a batch of {sizes[0]}; export with a "
                      "batch of 1 or a free batch dimension")
    if len(sizes) > 4:
        raise Refusal(f"input {value.name}: has {len(sizes)} dimensions {text}; networks on "
                      "vectors, sequences and images (2 to 4 dimensions) can be built")
    return (1, *sizes[1:])


def _network_name(name: str, source: str) -> str:
    stem = source.removesuffix(".onnx")
    for candidate in (stem, name):
        good = re.sub(r"[^A-Za-z0-9_.-]+", "_", candidate).strip("_.-")[:64]
        if good and re.match(r"[A-Za-z0-9]", good):
            return good
    return "network"
