"""Which design to build: variant of the network, pixels in a clock, folding and FIFO depths."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
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
from .schedule import Timing, roughly_sized, size_buffers

__all__ = ["DEFAULT_SHARE", "Built", "Target", "plan_design"]

REFOLDS = 2
"""Most times that a folding is looked at again, until it is within the budget."""

PACED = 1.02
"""By what factor a design may be larger and still keep the rate and the latency that it can have,
beyond what was asked for."""

ROUGHLY = 1.05
"""By what factor a design may be smaller than it looks with FIFOs of about the right sizes."""

CLEARLY = 1.1
"""By what factor a variant's layers are larger than another's where what goes between them is not
looked at: that is much less."""

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
    candidates: list[_Variant] = []
    for one in variants(graph):
        plans = plan_layers(one, known)
        candidates.append(_Variant(one, plans, target))
        known += plans
    if target.fold is not None:
        named = named_layers(target.fold)
        candidates = [max(candidates, key=lambda v: len(named & {p.name for p in v.plans}))]
    if interval is not None:
        candidates = [variant for variant in candidates if variant.layers_fit(interval)]
        if not candidates:
            raise BoardError(f"{graph.name}: does not fit {target.board.name} at {interval} clocks "
                             "a frame")
    problems: list[HwgenError] = []
    for group in _ranked(candidates):
        found: list[tuple[_Variant, Built]] = []
        for variant in group:
            try:
                found.append((variant, variant.design()))
            except (BoardError, ModelError) as error:
                problems.append(error)
        # A second look, which takes long, only at the best; at others where that does not fit.
        for variant, built in sorted(found, key=lambda v: v[0].rank(v[1])):
            built = variant.refined(built)
            lacking = shortfall(built.parts, target.budget,
                                f"{graph.name}: does not fit {target.board.name}")
            if not lacking:
                return built
            problems.append(BoardError(*lacking))
    raise problems[0]


def _ranked(candidates: "list[_Variant]") -> "list[list[_Variant]]":
    """Variants that may make the best design, and those that only may where none of these can be
    built: their layers alone are clearly larger, or slower."""
    if len(candidates) == 1:
        return [candidates]
    sizes = [variant.bare_size() for variant in candidates]
    cycles, size = min(sizes)
    near = [c <= cycles and s <= CLEARLY * size for c, s in sizes]
    return [[v for v, is_near in zip(candidates, near) if is_near == wanted]
            for wanted in (True, False)]


def _input_pixels(graph: Graph) -> int:
    height, width, _ = graph.input_tensor.shape
    return height * width


class _Variant:
    """A variant of the network, and the designs of it.

    Parameters
    ----------
    graph, plans
        The variant and its layers.
    target
        What to build for.
    """

    def __init__(self, graph: Graph, plans: list[Plan], target: Target):
        self.graph, self.plans, self.target = graph, plans, target
        self._known: dict[tuple[Choice, int], Built] = {}

    @property
    def _most(self) -> int | None:
        """Clocks a frame at the rate asked for."""
        target = self.target
        return None if target.fps is None else floor(target.clock_mhz * 1e6 / target.fps)

    def _smallest(self, interval: int, budget: Resources | None = None) -> Choice | None:
        return choose_for_interval(self.plans, interval, budget or self.target.budget,
                                   self.target.board.family)

    def _fastest(self, measure: Callable[[Choice], Resources]) -> Choice | None:
        return fastest_within(self.plans, self.target.budget, self.target.board.family,
                              _input_pixels(self.graph), measure)

    def layers_fit(self, interval: int) -> bool:
        """Whether the layers alone keep an interval within the budget."""
        choice = self._smallest(interval)
        return choice is not None and within(choice.cost, self.target.budget)

    def bare_size(self) -> tuple[float, float]:
        """Clocks a frame, if they are not given, and size of the layers of the best design, without
        what goes between them."""
        most = self._most
        choice = self._smallest(most) if most is not None else self._fastest(lambda c: c.cost)
        if choice is None:
            return inf, inf
        return 0 if most is not None else choice.cycles, share_of(choice.cost, self.target.budget)

    def rank(self, built: Built) -> tuple[int, float, float]:
        """Less is better: clocks a frame if they are not given, what lacks, size."""
        budget = self.target.budget
        return (built.timing.interval if self.target.fps is None else 0,
                overdraft(built.estimate, budget), share_of(built.estimate, budget))

    def _pace(self, choice: Choice) -> int:
        # Of a design that could be faster than was asked for, evenly paced frames need smaller
        # FIFOs than frames at full speed.
        if self._most is not None:
            return pace_within(self._most, self.graph, self.plans, choice.options)
        fold = self.target.fold
        return pace_from_file(fold, self.graph.input) if fold is not None else 1

    def _hardware(self, choice: Choice, clocks: int) -> HwGraph:
        return build_hardware(self.graph, self.plans, choice.options, clocks)

    def _parts(self, hardware: HwGraph) -> dict[str, Resources]:
        """What each layer takes."""
        family = self.target.board.family
        parts: dict[str, Resources] = {}
        for node in hardware.nodes:
            parts[node.layer] = parts.get(node.layer, Resources()) \
                + family_cost(node.block.estimate(family), family)
        return parts

    def _realize(self, choice: Choice, clocks: int = 0) -> Built:
        """The design of a folding, whose input beats are ``clocks`` apart, or as far as will do."""
        clocks = clocks or self._pace(choice)
        if (choice, clocks) not in self._known:
            hardware, timing = size_buffers(self._hardware(choice, clocks))
            self._known[choice, clocks] = Built(self.graph, tuple(self.plans), choice, hardware,
                                                timing, self._parts(hardware))
        return self._known[choice, clocks]

    def _measure(self, choice: Choice) -> Resources:
        return self._realize(choice).estimate

    def design(self) -> Built:
        """Its design by the layers' options; it may overdraw the budget. Errors as of
        :func:`plan_design`."""
        target, family = self.target, self.target.board.family
        if target.fold is not None:
            return self._realize(fold_from_file(self.plans, target.fold, family, self.graph.input))
        if self._most is None:
            return self._realize(self._fastest(self._measure) or self._least())
        interval, beats = self._most, _input_pixels(self.graph)
        choice = self._smallest(interval)
        if choice is None or interval < beats:
            least = max(least_interval(self.plans, family), beats)
            slow = next((p.name for p in self.plans
                         if min(o.cycles for o in p.options(family)) == least), self.graph.input)
            raise ModelError(
                f"{self.graph.name}: {target.fps:g} frames/s at {target.clock_mhz:g} MHz leave "
                f"{interval} clocks a frame; {slow} needs at least {least}: "
                f"ask for {target.clock_mhz * 1e6 / least:.6g} frames/s or less")
        return self._realize(fitting(lambda rest: self._smallest(interval, rest), target.budget,
                                     self._measure) or choice)

    def _least(self) -> Choice:
        """The smallest at any rate."""
        choice = self._smallest(max(o.cycles for p in self.plans
                                    for o in p.options(self.target.board.family)))
        assert choice is not None  # every option of every layer is allowed
        return choice

    def refined(self, built: Built) -> Built:
        """The design, or a smaller one of the same rate, or one that overdraws the budget less, by
        :func:`~hwgen.refolding.refold`; not paced where that saves little."""
        target, budget = self.target, self.target.budget
        if target.fps is None:
            return built
        for _ in range(REFOLDS):
            other = refold(built.plans, built.choice, built.hardware, built.timing, built.parts,
                           budget, target.board.family)
            if other is built.choice or self.rank(self._realize(other)) >= self.rank(built):
                break
            built = self._realize(other)
            if within(built.estimate, budget):
                break
        if self._pace(built.choice) == 1:
            return built
        most = PACED * share_of(built.estimate, budget)
        roughly = sum(self._parts(roughly_sized(self._hardware(built.choice, 1))).values(),
                      Resources())
        if overdraft(roughly, budget) > ROUGHLY - 1 or share_of(roughly, budget) > ROUGHLY * most:
            return built  # it takes long to know exactly
        at_full_speed = self._realize(built.choice, 1)
        fits = within(at_full_speed.estimate, budget)
        return at_full_speed if fits and share_of(at_full_speed.estimate, budget) <= most else built
