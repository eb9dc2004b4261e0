"""Choice of folding: the smallest design for a frame interval, the fastest within a budget."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

import highspy
import numpy as np

from .conv_choices import Folding
from .errors import ModelError
from .lower import Option, Plan
from .ops import Conv
from .resources import Resources

__all__ = ["Choice", "choose_for_interval", "fastest_within", "fitting", "fold_from_file",
           "least_interval", "named_layers", "overdraft", "pace_from_file",
           "pixels_from_file", "share_of", "shortfall", "smallest", "within"]

ROUNDS = 8
"""Most times that what goes between the layers is set aside anew."""

LATENCY_PRICE = 1.75
"""Shares of the budget that the fastest design gives for a frame interval less of latency, in small
parts: without that, layers at the end would be as slow as the interval lets them."""

ROOMY = 0.8
"""Share of the LUTs of the budget up to which they are as good to take as anything else: in a chip
that is fuller, wires get long."""

CROWDED_PRICE = 4.0
"""What each share of the LUTs costs beyond that, besides its own price."""

SMALLEST_GAP = 1e-4
"""Between the design that is taken and the smallest, relative: a LUT or two."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A chosen option for every layer."""

    options: dict[str, Option]

    @property
    def cycles(self) -> int:
        """Clocks per frame of the slowest layer."""
        return max(o.cycles for o in self.options.values())

    @property
    def cost(self) -> Resources:
        return sum((o.cost for o in self.options.values()), Resources())


def least_interval(plans: list[Plan], family: str) -> int:
    """Clocks per frame below which some layer can't go."""
    return max(min(o.cycles for o in p.options(family)) for p in plans)


def choose_for_interval(plans: list[Plan], interval: int, budget: Resources,
                        family: str) -> Choice | None:
    """The smallest design with at most ``interval`` clocks a frame; None if there is none.

    Smallest is the least :func:`share_of` the budget, found by integer programming. Where nothing
    fits, the design whose most overdrawn resource is overdrawn least.
    """
    allowed = [plan.options_within(interval, family) for plan in plans]
    return smallest(plans, allowed, budget) \
        or smallest(plans, allowed, budget, fits=False)


def _last_shares(plans: list[Plan]) -> list[float]:
    """Share of each layer's work that it can only do when the last row of its input is there; 0 of
    layers that work pixel by pixel or don't multiply, which keep up with those before them."""
    heights = {plan.tensor: plan.output.shape[0] for plan in plans}
    found = []
    for plan in plans:
        name, tensor = plan.inputs[0]
        before, behind = heights.get(name, tensor.shape[0]), plan.output.shape[0]
        rows = min(before, behind) if behind > 1 else before
        waits = isinstance(plan.op, Conv) and not (plan.op.pointwise and behind > 1)
        found.append(1 / rows if waits else 0.0)
    return found


def smallest(plans: list[Plan], allowed: list[list[Option]], budget: Resources, *,
              fits: bool = True, interval: int = 0) -> Choice | None:
    """The smallest design of some options of each layer, within the budget or, if it need not
    fit, as little beyond it as can be; None if there is none. With an ``interval``, what it takes
    from the last row to the result, in intervals, counts too.

    Columns of the integer program are options, 1 for the one that is taken, and last the share of
    LUTs beyond :data:`ROOMY` and the factor by which the budget is overdrawn. Its rows: one option
    a layer; what each resource takes; LUTs once more, for the share beyond.
    """
    if not all(allowed):
        return None
    limits = _limits(budget)
    shares = np.array([o.cost.values for options in allowed for o in options]) / limits
    price = shares.sum(axis=1)
    if interval:
        price += LATENCY_PRICE / interval * np.array([
            o.cycles * share for options, share in zip(allowed, _last_shares(plans))
            for o in options])
    counts = [len(options) for options in allowed]
    layer = np.repeat(np.arange(len(allowed)), counts)
    columns = len(shares)
    rows = len(allowed) + len(limits) + 1

    matrix = np.zeros((rows, columns + 2))
    matrix[layer, np.arange(columns)] = 1
    matrix[len(allowed):-1, :columns] = shares.T
    matrix[len(allowed):-1, columns + 1] = -1
    matrix[-1, :columns] = shares[:, 0]  # LUTs
    matrix[-1, columns] = -1
    entry_column, entry_row = np.nonzero(matrix.T)

    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = columns + 2, rows
    infinite = highspy.kHighsInf
    # Being overdrawn costs more than any design is large.
    program.col_cost_ = np.append(price, (CROWDED_PRICE, 10 * (1 + CROWDED_PRICE) * price.sum()))
    program.col_lower_ = np.append(np.zeros(columns), (0.0, 1.0))
    program.col_upper_ = np.append(np.ones(columns), (infinite, 1.0 if fits else infinite))
    program.row_lower_ = np.append(np.ones(len(allowed)), np.full(len(limits) + 1, -infinite))
    program.row_upper_ = np.append(np.ones(len(allowed)), np.append(np.zeros(len(limits)), ROOMY))
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.searchsorted(entry_column, np.arange(columns + 3)).astype(int)
    program.a_matrix_.index_ = entry_row.astype(int)
    program.a_matrix_.value_ = matrix[entry_row, entry_column]
    program.integrality_ = [highspy.HighsVarType.kInteger] * columns \
        + [highspy.HighsVarType.kContinuous] * 2
    solver = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, "mip_rel_gap": SMALLEST_GAP}.items():
        solver.setOptionValue(name, value)
    solver.passModel(program)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    taken = np.array(solver.getSolution().col_value[:columns])
    starts = np.cumsum([0, *counts])
    return Choice({plan.name: options[int(np.argmax(taken[start:start + len(options)]))]
                   for plan, options, start in zip(plans, allowed, starts)})


def _limits(budget: Resources) -> np.ndarray:
    return np.maximum(budget.values, 1e-3)


def share_of(used: Resources, budget: Resources) -> float:
    """Size of a design: the sum of the shares of all resources in the budget, where that of LUTs
    beyond :data:`ROOMY` counts more."""
    shares = np.array(used.values) / _limits(budget)
    return float(shares.sum() + CROWDED_PRICE * max(0.0, shares[0] - ROOMY))


def overdraft(used: Resources, budget: Resources) -> float:
    """By what share of it the budget is overdrawn, of the resource that is overdrawn most; or 0."""
    return max(0.0, float((np.array(used.values) / _limits(budget)).max()) - 1)


def fitting(choose: Callable[[Resources], Choice | None], budget: Resources,
            measure: Callable[[Choice], Resources]) -> Choice | None:
    """A design that is within the budget with all that goes between its layers; if none was found,
    the last that was looked at, or None.

    FIFOs and width adapters are known only of a whole design: what they take is set aside and
    chosen again, until the rest suffices.

    Parameters
    ----------
    choose
        A design within a budget, or None.
    measure
        What a whole design takes.
    """
    aside, last = Resources(), None
    for _ in range(ROUNDS):
        rest = Resources(*(max(0.0, b - a) for b, a in zip(budget.values, aside.values)))
        choice = choose(rest)
        if choice is None or not within(choice.cost, rest):
            break
        last = choice
        between = measure(choice) - choice.cost
        if within(choice.cost + between, budget):
            break
        aside = Resources(*map(max, aside.values, between.values))
    return last


def within(used: Resources, budget: Resources) -> bool:
    """Whether no resource is overdrawn."""
    return all(u <= b + 1e-6 for u, b in zip(used.values, budget.values))


def fastest_within(plans: list[Plan], budget: Resources, family: str, input_beats: int,
                   measure: Callable[[Choice], Resources]) -> Choice | None:
    """The design with the fewest clocks a frame that is within the budget, small and of little
    latency among those; None if even the smallest is not.

    Searches the intervals that the layers can have by bisection: a longer interval allows every
    design of a shorter one. ``measure`` as for :func:`fitting`.
    """
    floor = max(least_interval(plans, family), input_beats)
    candidates = sorted({max(o.cycles, floor) for p in plans for o in p.options(family)})

    def fastest(rest: Resources) -> Choice | None:
        low, high, best = 0, len(candidates) - 1, None
        while low <= high:
            middle = (low + high) // 2
            interval = candidates[middle]
            choice = smallest(plans, [p.options_within(interval, family) for p in plans],
                              rest, interval=interval)
            if choice is not None:
                best, high = choice, middle - 1
            else:
                low = middle + 1
        return best

    found = fitting(fastest, budget, measure)
    return found if found is not None and within(measure(found), budget) else None


def shortfall(parts: dict[str, Resources], budget: Resources, what: str) -> list[str]:
    """One line for each resource that the parts overdraw, with the layers that take most of it."""
    total = sum(parts.values(), Resources())
    lines = []
    for f in fields(Resources):
        used, limit = getattr(total, f.name), getattr(budget, f.name)
        if used > limit:
            takers = sorted(parts, key=lambda n: -getattr(parts[n], f.name))[:3]
            listed = ", ".join(f"{n} {_amount(getattr(parts[n], f.name))}" for n in takers)
            lines.append(f"{what}: {f.name} needed {_amount(used)}, allowed {_amount(limit)}; "
                         f"most goes to {listed}")
    return lines


def _amount(count: float) -> str:
    """Whole numbers where there are many; block RAMs come in halves or ninths."""
    return f"{count:.0f}" if count >= 100 else f"{round(count, 2):g}"


def fold_from_file(plans: list[Plan], path: Path, family: str, input_name: str = "") -> Choice:
    """The options that a fold file names: ``{"layers": {"conv1": {"pe": 4, "simd": 9}}}``.

    Fields that are left out are free: the smallest matching design is taken. What it says of the
    network's input, :func:`pace_from_file` reads.
    """
    layers = {name: layer for name, layer in _read(path).items() if name != input_name}
    names = [p.name for p in plans]
    problems = [f"{path}: {name}: no such layer" + _did_you_mean(name, names)
                for name in layers if name not in names]
    options: dict[str, Option] = {}
    for plan in plans:
        wanted = layers.get(plan.name, {})
        matching = [o for o in plan.options(family)
                    if all(o.folding.get(k) == v for k, v in wanted.items())]
        if matching:
            # Slices take no LUTs: they are for those that ask for them.
            options[plan.name] = min(matching, key=lambda o: ("multiply" in o.folding, o.cost.lut,
                                                              o.cycles))
        else:
            problems.append(f"{path}: {plan.name}: {_no_match(plan, wanted, family)}")
    if problems:
        raise ModelError(*problems)
    return Choice(options)


def pace_from_file(path: Path, input_name: str) -> int:
    """Clocks from a beat of input to the next that a fold file states, ``{"layers": {"x":
    {"clocks": 16}}}``; 1 if it does not."""
    return _of_input(path, input_name, "clocks")


def pixels_from_file(path: Path, input_name: str) -> int:
    """Pixels of a beat of input that a fold file states, ``{"layers": {"x": {"pixels": 2}}}``; 1 if
    it does not."""
    return _of_input(path, input_name, "pixels")


def _of_input(path: Path, input_name: str, key: str) -> int:
    stated = _read(path).get(input_name, {})
    unknown = stated.keys() - {"clocks", "pixels"}
    if unknown:
        raise ModelError(f"{path}: {input_name}: has no {min(unknown)!r}; of the network's input "
                         "there are only 'clocks' and 'pixels'")
    value = stated.get(key, 1)
    if type(value) is not int or value < 1:
        raise ModelError(f"{path}: {input_name}: {key} can't be {value!r}; it is a whole number, "
                         "at least 1")
    return value


def named_layers(path: Path) -> set[str]:
    """Layers that a fold file names."""
    return set(_read(path))


def _read(path: Path) -> dict[str, Folding]:
    """Layers of a fold file, with what it says of them."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None
    layers = data.get("layers") if isinstance(data, dict) else None
    if not isinstance(layers, dict) or not all(isinstance(v, dict) for v in layers.values()):
        raise ModelError(f'{path}: must be {{"layers": {{"NAME": {{"pe": 1, "simd": 1}}}}}}')
    return layers


def _no_match(plan: Plan, wanted: Folding, family: str) -> str:
    for key, value in wanted.items():
        values = {o.folding[key] for o in plan.options(family) if key in o.folding}
        if not values:
            keys = sorted({k for o in plan.options(family) for k in o.folding})
            return f"has no {key!r}; choose from {', '.join(keys)}"
        if value not in values:
            listed = ", ".join(map(str, sorted(values, key=str if isinstance(value, str)
                                               else lambda v: (isinstance(v, str), v))))
            return f"{key} can't be {value!r}; choose from {listed}"
    stated = ", ".join(f"{k} {v}" for k, v in wanted.items())
    return f"{stated} can't go together; leave one out"


def _did_you_mean(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else f"; layers are {', '.join(names)}"
