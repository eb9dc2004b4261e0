"""Places of the layers of a network in a drawing: ranks from top to bottom, few crossings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Layout", "Route", "place"]

SWEEPS = 4  # over the ranks, to put each node near its neighbours
PASSING = 0.25  # width that an edge takes in a rank that it passes, of a node's


@dataclass(frozen=True)
class Route:
    """An edge: its ends, and the columns where it passes the ranks between them."""

    source: str
    target: str
    columns: tuple[float, ...]


@dataclass(frozen=True)
class Layout:
    """Where everything is; columns are in widths of a node, 0 in the middle."""

    ranks: tuple[tuple[str, ...], ...]
    columns: dict[str, float]
    routes: tuple[Route, ...]

    @property
    def width(self) -> float:
        """Width of the drawing in widths of a node."""
        places = [*self.columns.values(), *(c for r in self.routes for c in r.columns)]
        return 2 * max(abs(column) for column in places) + 1

    @property
    def rank(self) -> dict[str, int]:
        return {name: n for n, names in enumerate(self.ranks) for name in names}


def place(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """Lay out a graph whose nodes come in topological order.

    A node's rank is the longest way to it. An edge over several ranks is a chain of narrow nodes,
    one in each, so that it goes round the boxes.
    """
    links = [(a, b) for a, b in dict.fromkeys(edges) if names.index(a) < names.index(b)]
    rank = dict.fromkeys(names, 0)
    for name in names:
        rank[name] = max((rank[a] + 1 for a, b in links if b == name), default=0)
    rows: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    for name in names:
        rows[rank[name]].append(name)
    chains: dict[tuple[str, str], list[str]] = {}
    for a, b in links:
        chain = [f"\0{a}\0{b}\0{level}" for level in range(rank[a] + 1, rank[b])]
        for level, passing in enumerate(chain, rank[a] + 1):
            rows[level].append(passing)
        chains[a, b] = chain
    near: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for (a, b), chain in chains.items():
        for first, second in zip([a, *chain], [*chain, b]):
            near[first].append(second)
            near[second].append(first)
    columns = _columns(rows, near)
    return Layout(
        tuple(tuple(name for name in row if name in rank) for row in rows),
        {name: columns[name] for name in names},
        tuple(Route(a, b, tuple(columns[p] for p in chains[a, b])) for a, b in links))


def _columns(rows: list[list[str]], near: Mapping[str, list[str]]) -> dict[str, float]:
    """Sort each row by where its neighbours are, and space it evenly round the middle."""
    columns: dict[str, float] = {}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            def wanted(name: str) -> float:
                found = [columns[other] for other in near[name] if other in columns]
                return sum(found) / len(found) if found else columns.get(name, 0.0)

            row.sort(key=wanted)
            widths = [PASSING if name.startswith("\0") else 1.0 for name in row]
            left = -sum(widths) / 2
            for name, width in zip(row, widths):
                columns[name], left = left + width / 2, left + width
    return columns
