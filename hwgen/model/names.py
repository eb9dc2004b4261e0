"""Who reads which tensor: names of layers, inputs and the output."""

from collections.abc import Mapping, Sequence
from typing import Any

from .description import LAYER_TYPES, Join
from .fields import did_you_mean, show
from .problems import Problems, layer_place

__all__ = ["resolve_names"]


def resolve_names(raw: Mapping[str, Any], entries: Sequence[Any], layers: Sequence[Any],
                  problems: Problems) -> tuple[list[Any], str | None]:
    """Fill in the inputs and the output that the file leaves out, and check every name.

    Parameters
    ----------
    raw
        The whole description as in the file.
    entries
        Its layers as in the file.
    layers
        The same, validated; None where a field is wrong.
    problems
        Receives unknown, doubled and unread names.

    Returns
    -------
    layers
        With inputs filled in; None where a field or an input's name is wrong.
    output
        Name of the tensor that leaves; None if it is wrong.
    """
    names = [_name(entry) for entry in entries]
    network_input = _name(raw.get("input"))
    defined = {} if network_input is None else {network_input: "the network's input"}
    # A tensor without a name may be the one that an unknown name means, and a layer whose input
    # can't be read may be the reader of any tensor: then nothing is said about those.
    named = network_input is not None and None not in names
    known = named
    read: set[str] = set()
    doubled: set[str] = set()
    resolved = []
    for n, (entry, layer, name) in enumerate(zip(entries, layers, names)):
        place = layer_place(name, n)
        previous = names[n - 1] if n else network_input
        wanted = _reads(entry, previous)
        good = bool(wanted)
        for field, tensor in wanted:
            read.add(tensor)
            if tensor not in defined:
                good = False
                if named:
                    problems.add(f"{place}.{field}", _unknown(tensor, name, names, defined), n)
        known &= good
        good &= not any(tensor in doubled for _, tensor in wanted)
        if name is not None and not _define(name, n, place, defined, problems):
            doubled.add(name)
            good = known = False
        if layer is not None and not isinstance(layer, Join) and good:
            layer = layer.model_copy(update={"input": wanted[0][1]})
        resolved.append(layer if good else None)

    output = raw.get("output", names[-1])
    if output is not None and output not in names:
        if isinstance(output, str):
            text = "is the network's input; name the tensor of a layer" \
                if output == network_input else \
                f"no tensor {show(output)}{did_you_mean(output, [n for n in names if n])}"
            problems.add("output", text)
        return resolved, None
    if known and output is not None:
        for n, name in enumerate(names):
            if name is not None and name not in read and name != output:
                problems.add(layer_place(name, n), "no layer reads its tensor and it is not the "
                             f"output, which is {show(output)}; remove it or name it in output", n)
    return resolved, output


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) and name else None


def _reads(entry: Any, previous: str | None) -> list[tuple[str, str]]:
    """(field, tensor) of each input of a layer; none if they can't be read."""
    if not isinstance(entry, Mapping):
        return []
    cls = LAYER_TYPES.get(entry["type"]) if isinstance(entry.get("type"), str) else None
    if issubclass(cls, Join) if cls is not None else "inputs" in entry:
        tensors = entry.get("inputs")
        if not isinstance(tensors, (list, tuple)) or not all(isinstance(t, str) for t in tensors):
            return []
        return [(f"inputs[{n}]", t) for n, t in enumerate(tensors)]
    tensor = entry.get("input")
    if tensor is None:
        tensor = previous
    return [("input", tensor)] if isinstance(tensor, str) else []


def _unknown(tensor: str, name: str | None, names: Sequence[str | None],
             defined: Mapping[str, str]) -> str:
    if tensor == name:
        return f"{show(tensor)} is this layer itself; a layer reads tensors made before it"
    if tensor in names:
        return (f"{show(tensor)} is made later, by layers[{names.index(tensor)}]; a layer reads "
                "tensors made before it, so move that layer up")
    return f"no tensor {show(tensor)}{did_you_mean(tensor, defined)}"


def _define(name: str, number: int, place: str, defined: dict[str, str],
            problems: Problems) -> bool:
    """Add a name; False if it is taken. Case does not tell names apart: file systems ignore it."""
    for other, owner in defined.items():
        if name.lower() == other.lower():
            text = f"{show(name)} is already the name of {owner}"
            if name != other:
                text = (f"{show(name)} differs from {show(other)}, the name of {owner}, only in "
                        "case; files named after them would collide")
            problems.add(f"{place}.name", text, number)
            defined.setdefault(name, f"layers[{number}]")
            return False
    defined[name] = f"layers[{number}]"
    return True
