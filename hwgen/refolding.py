"""A second look at a folding, with the FIFOs that each choice brings.

Folding weighs the layers one by one, but what goes between them depends on several: a layer that is
barely fast enough needs a deep FIFO in front where its input comes in bursts, one that is ahead of
its reader a deep one behind. With a whole design at hand that is known: the clocks of a layer's
neighbours stay what they are, and each of its options gets the FIFOs that it needs among them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .blocks.width_adapter import adapters_between
from .families import family_cost
from .folding import Choice, share_of, smallest
from .hardware import INPUT, HwGraph, HwNode, Source
from .lower import Option, Plan
from .resources import Resources
from .schedule import Arrivals, SteadyRun, Timing, fifo_memory, size_among
from .streams import TensorStream

__all__ = ["refold"]

MOST_OPTIONS = 12
"""Of a layer that are looked at: those that take least."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a layer is in a design: the stream it reads, when that comes, and when its results are
    taken."""

    stream: TensorStream
    arrivals: Arrivals


def refold(plans: Iterable[Plan], choice: Choice, hardware: HwGraph, timing: Timing,
           parts: dict[str, Resources], budget: Resources, family: str) -> Choice:
    """A folding that takes less with its FIFOs, by what they would be with one layer changed; the
    same if there is none.

    Of layers that have a FIFO in block RAM before or behind them, those options are looked at that
    have the same lanes at the output; other layers keep the FIFOs that they have.

    Parameters
    ----------
    hardware, timing, parts
        The design of ``choice``: sized, and what it takes by layer.
    """
    run = SteadyRun(hardware, timing)
    plans = list(plans)
    allowed: list[list[Option]] = []
    for plan in plans:
        options = plan.options_within(timing.interval, family)
        present, takes = choice.options[plan.name], parts[plan.name]
        place = _place(hardware, run, plan.name)
        if place is None:
            costs = [(o, takes + (o.cost - present.cost)) for o in options]
        else:
            before = _with_fifos(present, place, family)
            alike = sorted((o for o in options if o.output == present.output),
                           key=lambda o: share_of(o.cost, budget))
            costs = [(o, takes + (_with_fifos(o, place, family) - before))
                     for o in alike[:MOST_OPTIONS]]
        allowed.append([replace(present, cost=takes), *(replace(o, cost=cost) for o, cost in costs
                                                        if o is not present)])
    found = smallest(plans, allowed, budget) or smallest(plans, allowed, budget, fits=False)
    assert found is not None  # the present design is among them
    # Options with their own costs.
    chosen = {plan.name: next(o for o in plan.options(family)
                              if o.blocks is found.options[plan.name].blocks) for plan in plans}
    return choice if chosen == choice.options else Choice(chosen)


def _place(hardware: HwGraph, run: SteadyRun, layer: str) -> _Place | None:
    """Of a layer with one stream in and one out, if it has a FIFO in block RAM; else None."""
    nodes = {node.name: node for node in hardware.nodes if node.layer == layer}
    entries = [source for node in nodes.values() for source in node.sources
               if source.node not in nodes]
    ends = [*(source for node in hardware.nodes if node.name not in nodes
              for source in node.sources), hardware.output]
    exits = [source for source in ends if source.node in nodes]
    if len(entries) != 1 or len(exits) != 1 or entries[0].node == INPUT:
        return None
    front, back = entries[0], exits[0]
    if not any(fifo_memory(node.block)
               for node in (*nodes.values(), hardware.node(front.node))):
        return None
    return _Place(hardware.stream(front), run.around(front, back))


def _with_fifos(option: Option, place: _Place, family: str) -> Resources:
    """What an option takes with the FIFOs in front, within and behind it."""
    nodes: list[HwNode] = []
    source = Source(INPUT)
    blocks = [*(("", block) for block in adapters_between(place.stream, option.inputs[0])),
              *option.blocks]
    for number, (_, block) in enumerate(blocks):
        nodes.append(HwNode(f"block_{number}", block, (source,), ""))
        source = Source(nodes[-1].name)
    alone = HwGraph("layer", place.stream, "", tuple(nodes), source, "")
    sized = size_among(alone, place.arrivals)
    return sum((family_cost(node.block.estimate(family), family) for node in sized.nodes),
               Resources())
