"""Places of boxes in a drawing."""

from itertools import pairwise

from hwgen.page.layout import PASSING, place


def test_a_chain_is_one_column():
    layout = place(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert layout.ranks == (("a",), ("b",), ("c",))
    assert set(layout.columns.values()) == {0.0}
    assert layout.width == 1


def test_branches_are_side_by_side_and_do_not_overlap():
    names = ["in", "a", "b", "c", "out"]
    edges = [("in", x) for x in "abc"] + [(x, "out") for x in "abc"]
    layout = place(names, edges)
    assert layout.ranks == (("in",), ("a", "b", "c"), ("out",))
    for left, right in pairwise(sorted(layout.columns[name] for name in "abc")):
        assert right - left >= 1
    assert layout.width == 3


def test_an_edge_past_a_rank_goes_round_its_boxes():
    layout = place(["a", "b", "c", "add"], [("a", "b"), ("b", "c"), ("c", "add"), ("a", "add")])
    route, = (r for r in layout.routes if (r.source, r.target) == ("a", "add"))
    assert len(route.columns) == 2
    for name, column in zip("bc", route.columns):
        assert abs(layout.columns[name] - column) >= (1 + PASSING) / 2


def test_ranks_go_down_along_every_edge():
    names = [f"n{k}" for k in range(12)]
    edges = [(names[k], names[k + step]) for step in (1, 3, 5) for k in range(12 - step)]
    rank = place(names, edges).rank
    assert all(rank[a] < rank[b] for a, b in edges)


def test_streams_between_the_same_two_are_one_route():
    assert len(place(["a", "b"], [("a", "b"), ("a", "b")]).routes) == 1
