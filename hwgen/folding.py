"""Choice of folding: the smallest design for a frame interval, the fastest within a budget."""

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from .errors import ModelError
from .lower import Folding, Option, Plan
from .resources import Resources

__all__ = ["Choice", "choose_for_interval", "fastest_within", "fold_from_file", "least_interval",
           "shortfall"]

ROUNDS = 24


@dataclass(frozen=True)
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

    Each layer takes its cheapest option under prices for LUT, LUTRAM, FF, block RAM and DSP; the
    price of what is overdrawn rises until everything fits (Lagrangian relaxation). What does not
    fit in the end is returned all the same, at the prices that came nearest.
    """
    allowed = {p.name: [o for o in p.options(family) if o.cycles <= interval] for p in plans}
    if not all(allowed.values()):
        return None
    limits = [max(v, 1e-3) for v in astuple(budget)]
    prices = [1.0 / v for v in limits]
    best: tuple[float, float, Choice] | None = None
    for _ in range(ROUNDS):
        choice = Choice({name: min(options, key=lambda o: (_price(o.cost, prices), o.cycles))
                         for name, options in allowed.items()})
        used = astuple(choice.cost)
        over = max(max(u / v for u, v in zip(used, limits)), 1.0)
        total = sum(u / v for u, v in zip(used, limits))
        if best is None or (over, total) < best[:2]:
            best = (over, total, choice)
        if over <= 1.0:
            break
        prices = [p * (1.6 if u > v else 1.0) for p, u, v in zip(prices, used, limits)]
    return best[2] if best else None


def _price(cost: Resources, prices: list[float]) -> float:
    return sum(c * p for c, p in zip(astuple(cost), prices))


def fastest_within(plans: list[Plan], budget: Resources, family: str, input_beats: int,
                   fits: Callable[[Choice], bool]) -> Choice | None:
    """The design with the fewest clocks a frame that ``fits``; None if even the smallest does not.

    Searches the intervals that the layers can have by bisection: a longer interval allows every
    design of a shorter one.
    """
    floor = max(least_interval(plans, family), input_beats)
    candidates = sorted({max(o.cycles, floor) for p in plans for o in p.options(family)
                         if o.cycles >= floor} | {floor})
    low, high, best = 0, len(candidates) - 1, None
    while low <= high:
        middle = (low + high) // 2
        choice = choose_for_interval(plans, candidates[middle], budget, family)
        if choice is not None and fits(choice):
            best, high = choice, middle - 1
        else:
            low = middle + 1
    return best


def shortfall(parts: dict[str, Resources], budget: Resources, what: str) -> list[str]:
    """One line for each resource that the parts overdraw, with the layers that take most of it."""
    total = sum(parts.values(), Resources())
    lines = []
    for f in fields(Resources):
        used, limit = getattr(total, f.name), getattr(budget, f.name)
        if used > limit:
            takers = sorted(parts, key=lambda n: -getattr(parts[n], f.name))[:3]
            listed = ", ".join(f"{n} {getattr(parts[n], f.name):.0f}" for n in takers)
            lines.append(f"{what}: {f.name} needed {used:.0f}, allowed {limit:.0f}; "
                         f"most goes to {listed}")
    return lines


def fold_from_file(plans: list[Plan], path: Path, family: str) -> Choice:
    """The options that a fold file names: ``{"layers": {"conv1": {"pe": 4, "simd": 9}}}``.

    Fields that are left out are free: the smallest matching design is taken.
    """
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None
    layers = data.get("layers") if isinstance(data, dict) else None
    if not isinstance(layers, dict) or not all(isinstance(v, dict) for v in layers.values()):
        raise ModelError(f'{path}: must be {{"layers": {{"NAME": {{"pe": 1, "simd": 1}}}}}}')
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
