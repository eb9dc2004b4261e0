"""Which design to build: variant of the network, pixels in a clock, folding and FIFO depths."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import floor, inf
from pathlib import Path
from time import perf_counter

from .boards import Board
from .callbacks import OnStep
from .errors import BoardError, HwgenError, ModelError
from .families import family_cost
from .folding import (
    Choice,
    choose_for_interval,
    fastest_within,
    fitting,
    fold_from_file,
    least_interval,
    named_layers,
    overdraft,
    pace_from_file,
    pixels_from_file,
    share_of,
    shortfall,
    within,
)
from .graph import Graph
from .hardware import HwGraph
from .lower import Plan, build_hardware, pace_within, plan_layers
from .passes import pack_pixels, packings, variants
from .refolding import refold
from .resources import Resources
from .schedule import Timing, size_buffers

__all__ = ["DEFAULT_SHARE", "Built", "Target", "plan_design"]

REFOLDS = 2
"""Most times that a folding is looked at again, until it is within the budget."""

PACED = 1.02
"""By what factor a design may be larger and still keep the rate and the latency that it can have,
beyond what was asked for."""

CLEARLY = 1.1
"""By what factor a variant's layers are larger than another's where what goes between them is not
looked at: that is much less."""

Variant = tuple[Graph, list[Plan]]
"""A graph and its layers."""

DEFAULT_SHARE = 0.7  # of the board, when neither rate nor budget is asked for


@dataclass(frozen=True)
class Target:
    """What to build for.

    Parameters
    ----------
    board
        The board.
    clock_mhz
        Clock of the design.
    budget
        Resources that the design may take.
    fps
        Frames per second that it must reach; None for the most that the budget allows.
    fold
        Fold file that settles the folding instead.
    """

    board: Board
    clock_mhz: float
    budget: Resources
    fps: float | None = None
    fold: Path | None = None


@dataclass(frozen=True, eq=False)
class Built:
    """A design, not yet written; ``pixels`` neighbours of a row come in a beat of input."""

    graph: Graph
    plans: tuple[Plan, ...]
    choice: Choice
    hardware: HwGraph
    timing: Timing
    parts: dict[str, Resources]
    pixels: int = 1

    @property
    def estimate(self) -> Resources:
        return sum(self.parts.values(), Resources())


def plan_design(graph: Graph, target: Target, on_step: OnStep | None = None) -> Built:
    """Choose folding and FIFO depths for a folded graph, and which of its variants to build.

    The fastest design is taken, or with a rate given the smallest: that whose shares of the budget
    have the least sum. A fold file names the layers of one variant.

    Raises
    ------
    ModelError
        The rate asked for is beyond the network's least interval, or the fold file is wrong.
    BoardError
        Nothing fits; names each resource that lacks and the layers that take most of it.
    """
    start = perf_counter()
    built = _at_any_packing(graph, target)
    if on_step is not None:
        on_step("folding and FIFO depths", perf_counter() - start)
    return replace(built, pixels=graph.input_tensor.shape[1] // built.graph.input_tensor.shape[1])


def _at_any_packing(graph: Graph, target: Target) -> Built:
    """The design with as many pixels in a beat of input as it takes: for a rate the fewest; else
    more, where the input is slowest and the layers can be as fast as with more pixels."""
    known: list[Plan] = []
    if target.fold is not None:
        return _best_variant(_packed_as_stated(graph, target.fold), target, known)
    packed = [graph, *(found for pixels in packings(graph)
                       if (found := pack_pixels(graph, pixels)) is not None)]
    if target.fps is not None:
        interval = floor(target.clock_mhz * 1e6 / target.fps)
        *slower, most = packed
        for one in slower:
            if _input_pixels(one) <= interval:
                with suppress(ModelError):  # the rate is beyond it
                    return _best_variant(one, target, known)
        return _best_variant(most, target, known)
    best = _best_variant(graph, target, known)
    for before, after in pairwise(packed):
        if best.choice.cycles > _least_at_input(before, target, known):
            break
        try:
            best = min(best, _best_variant(after, target, known,
                                           _least_at_input(after, target, known)),
                       key=lambda b: b.timing.interval)
        except (BoardError, ModelError):
            break
    return best


def _packed_as_stated(graph: Graph, fold: Path) -> Graph:
    """With as many pixels in a beat as a fold file states."""
    pixels = pixels_from_file(fold, graph.input)
    packed = pack_pixels(graph, pixels) if pixels > 1 else graph
    if packed is None:
        choices = ", ".join(map(str, [1, *packings(graph)]))
        raise ModelError(f"{fold}: {graph.input}: pixels can't be {pixels}; choose from {choices}")
    return packed


def _least_at_input(graph: Graph, target: Target, known: list[Plan]) -> int:
    """Clocks a frame that the input takes, or the layers that read it at their fastest: windows of
    padded images take some more. ``known`` as of :func:`_best_variant`."""
    plans = plan_layers(graph, known)
    known += plans
    least = [min(o.cycles for o in plan.options(target.board.family)) for plan in plans
             if graph.input in dict(plan.inputs)]
    return max(_input_pixels(graph), *least)


def _best_variant(graph: Graph, target: Target, known: list[Plan],
                  interval: int | None = None) -> Built:
    """The best design of a graph's variants; of those whose layers keep an ``interval``, if given,
    or BoardError. ``known``: layers whose options have been listed, to which these are added."""
    candidates: list[Variant] = []
    for variant in variants(graph):
        plans = plan_layers(variant, known)
        candidates.append((variant, plans))
        known += plans
    if target.fold is not None:
        named = named_layers(target.fold)
        candidates = [max(candidates, key=lambda c: len(named & {p.name for p in c[1]}))]
    if interval is not None:
        candidates = [v for v in candidates if _layers_fit(v, target, interval)]
        if not candidates:
            raise BoardError(f"{graph.name}: does not fit {target.board.name} at {interval} clocks "
                             "a frame")
    problems: list[HwgenError] = []
    found: list[Built] = []
    for group in _ranked(candidates, target):
        for variant, plans in group:
            try:
                found.append(_plan_variant(variant, plans, target))
            except (BoardError, ModelError) as error:
                problems.append(error)
        if found:
            break
    else:
        raise problems[0]
    return min(found, key=lambda b: (b.timing.interval if target.fps is None else 0,
                                     share_of(b.estimate, target.budget)))


def _layers_fit(variant: Variant, target: Target, interval: int) -> bool:
    """Whether the layers alone keep an interval within the budget."""
    choice = choose_for_interval(variant[1], interval, target.budget, target.board.family)
    return choice is not None and within(choice.cost, target.budget)


def _ranked(candidates: list[Variant], target: Target) -> list[list[Variant]]:
    """Variants that may make the best design, and those that only may where none of these can be
    built: their layers alone are clearly larger, or slower."""
    if len(candidates) == 1:
        return [candidates]
    sizes = [_bare_size(variant, target) for variant in candidates]
    cycles, size = min(sizes)
    near = [c <= cycles and s <= CLEARLY * size for c, s in sizes]
    return [[v for v, is_near in zip(candidates, near) if is_near == wanted]
            for wanted in (True, False)]


def _bare_size(variant: Variant, target: Target) -> tuple[float, float]:
    """Clocks a frame, if they are not given, and size of the layers of a variant's best design,
    without what goes between them."""
    graph, plans = variant
    family, budget = target.board.family, target.budget
    if target.fps is not None:
        choice = choose_for_interval(plans, floor(target.clock_mhz * 1e6 / target.fps), budget,
                                     family)
    else:
        choice = fastest_within(plans, budget, family, _input_pixels(graph), lambda c: c.cost)
    if choice is None:
        return inf, inf
    return 0 if target.fps is not None else choice.cycles, share_of(choice.cost, budget)


def _input_pixels(graph: Graph) -> int:
    height, width, _ = graph.input_tensor.shape
    return height * width


def _plan_variant(graph: Graph, plans: list[Plan], target: Target) -> Built:
    """A design of one variant; errors as of :func:`plan_design`."""
    family, budget = target.board.family, target.budget
    most = floor(target.clock_mhz * 1e6 / target.fps) if target.fps is not None else None
    where = f"{graph.name}: does not fit {target.board.name}"

    def pace(choice: Choice) -> int:
        # Of a design that could be faster than was asked for, evenly paced frames need smaller
        # FIFOs than frames at full speed.
        if most is not None:
            return pace_within(most, graph, plans, choice.options)
        return pace_from_file(target.fold, graph.input) if target.fold is not None else 1

    @cache
    def realize(choice: Choice, clocks: int | None = None) -> Built:
        hardware, timing = size_buffers(build_hardware(graph, plans, choice.options,
                                                       clocks or pace(choice)))
        parts: dict[str, Resources] = {}
        for node in hardware.nodes:
            parts[node.layer] = parts.get(node.layer, Resources()) \
                + family_cost(node.block.estimate(family), family)
        return Built(graph, tuple(plans), choice, hardware, timing, parts)

    def measure(choice: Choice) -> Resources:
        return realize(choice).estimate

    if target.fold is not None:
        built = realize(fold_from_file(plans, target.fold, family, graph.input))
    elif target.fps is not None:
        assert most is not None
        interval = most
        choice = choose_for_interval(plans, interval, budget, family)
        beats = _input_pixels(graph)
        if choice is None or interval < beats:
            least = max(least_interval(plans, family), beats)
            slow = next((p.name for p in plans if min(o.cycles for o in p.options(family))
                         == least), graph.input)
            raise ModelError(
                f"{graph.name}: {target.fps:g} frames/s at {target.clock_mhz:g} MHz leave "
                f"{interval} clocks a frame; {slow} needs at least {least}: "
                f"ask for {target.clock_mhz * 1e6 / least:.6g} frames/s or less")
        built = realize(fitting(lambda rest: choose_for_interval(plans, interval, rest, family),
                                budget, measure) or choice)
        built = _refolded(built, realize, budget, family)
        if pace(built.choice) > 1:
            at_full_speed = realize(built.choice, 1)
            if within(at_full_speed.estimate, budget) and share_of(
                    at_full_speed.estimate, budget) <= PACED * share_of(built.estimate, budget):
                built = at_full_speed
    else:
        fastest = fastest_within(plans, budget, family, _input_pixels(graph), measure)
        if fastest is None:
            smallest = choose_for_interval(plans, max(o.cycles for p in plans
                                                      for o in p.options(family)), budget, family)
            assert smallest is not None  # every option of every layer is allowed
            raise BoardError(*(shortfall(realize(smallest).parts, budget, where)
                               or shortfall({p.name: smallest.options[p.name].cost for p in plans},
                                            budget, where)))
        built = realize(fastest)
    problems = shortfall(built.parts, budget, where)
    if problems:
        raise BoardError(*problems)
    return built


def _refolded(built: Built, realize: Callable[[Choice], Built], budget: Resources,
              family: str) -> Built:
    """The design, or a smaller one, or one that overdraws the budget less, that
    :func:`~hwgen.refolding.refold` finds from it."""
    def size(design: Built) -> tuple[float, float]:
        return overdraft(design.estimate, budget), share_of(design.estimate, budget)

    for _ in range(REFOLDS):
        other = refold(built.plans, built.choice, built.hardware, built.timing, built.parts,
                       budget, family)
        if other is built.choice or size(realize(other)) >= size(built):
            break
        built = realize(other)
        if within(built.estimate, budget):
            break
    return built
