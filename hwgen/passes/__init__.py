"""Passes on the integer graph: pure functions from graph to graph with equal results."""

from collections.abc import Callable
from time import perf_counter

from ..errors import ModelError
from ..graph import Graph
from .absorb_selects import absorb_selects
from .fold_activations import fold_activations
from .infer_types import infer_types
from .merge_bias import merge_bias
from .merge_convolutions import merge_convolutions
from .merge_multipliers import merge_multipliers
from .pack_pixels import pack_pixels, packings
from .quantize_early import quantize_early
from .rewrite import needed
from .shrink_multipliers import shrink_multipliers
from .simplify import simplify
from .verify import verify

__all__ = ["PIPELINE", "absorb_selects", "fold_activations", "infer_types", "merge_bias",
           "merge_convolutions", "merge_multipliers", "pack_pixels", "packings", "quantize_early",
           "run_pipeline", "shrink_multipliers", "simplify", "variants", "verify"]

PIPELINE = (
    infer_types,  # first: the ranges of the accumulators bound the levels found below
    quantize_early,
    merge_multipliers,
    infer_types,
    fold_activations,
    merge_bias,  # after fold_activations, which leaves a Bias before each shift
    simplify,
    absorb_selects,
    shrink_multipliers,
    infer_types,  # again: the passes above narrow accumulators
)


def run_pipeline(graph: Graph, on_pass: Callable[[str, Graph, float], None] | None = None) -> Graph:
    """The graph that hardware is made of: integers only, in as few operations as there are.

    Parameters
    ----------
    graph
        Any graph that :func:`verify` accepts; a node that the output does not need is an error.
    on_pass
        Called after each pass with its name, the new graph, and the seconds it took.

    Raises
    ------
    ModelError
        A layer is not used, or holds real numbers that no integer operation reproduces exactly.
    """
    unused = [node for node in graph.nodes if node.name not in needed(graph)]
    if unused:
        raise ModelError(*(f"{node.name}: the output {graph.output} does not depend on it; "
                           f"remove it or use its result" for node in unused))
    for function in PIPELINE:
        start = perf_counter()
        graph = function(graph)
        verify(graph)
        if on_pass is not None:
            on_pass(function.__name__, graph, perf_counter() - start)
    return graph


def variants(graph: Graph) -> tuple[Graph, ...]:
    """A folded graph, and others of equal results but with other layers: which of them makes the
    best design depends on the rate. Most networks have no others."""
    merged = merge_convolutions(graph)
    if merged is graph:
        return graph,
    verify(merged)
    return graph, merged
