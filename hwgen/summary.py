"""The table of a network's layers: shapes, types, weights, products."""

from typing import Any

from rich.table import Table

from .graph import Graph
from .ops import Conv

__all__ = ["layer_rows", "layer_table"]


def layer_rows(graph: Graph) -> list[dict[str, Any]]:
    """One row per layer: name, operation, output shape (height, width, channels) and type, number
    of weights, their type and bits, biases, and multiply-accumulates per frame."""
    rows = []
    for node in graph.nodes:
        row = {"name": node.name, "operation": type(node.op).__name__,
               "shape": list(node.output.shape), "type": node.output.dtype.name,
               "weights": 0, "weight_type": None, "weight_bits": 0, "biases": 0, "macs": 0}
        if isinstance(node.op, Conv):
            height, width, _ = node.output.shape
            weights = node.op.weights
            row |= {"weights": weights.size, "weight_type": node.op.weight_type.name,
                    "weight_bits": weights.size * node.op.weight_type.width,
                    "biases": int(len(node.op.bias) if node.op.bias.any() else 0),
                    "macs": weights.size * height * width}
        rows.append(row)
    return rows


def layer_table(name: str, rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal, with their sums."""
    table = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False,
                  padding=(0, 2, 0, 0))
    for column in ("layer", "operation", "output", "type", "weight type"):
        table.add_column(column)
    for column in ("weights", "weight bits", "MACs"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row["name"], row["operation"], " x ".join(map(str, row["shape"])),
                      row["type"], row["weight_type"] or "",
                      *(f"{row[key]:,}" if row[key] else "" for key in
                        ("weights", "weight_bits", "macs")))
    table.add_row("total", "", "", "", "", *(f"{sum(row[key] for row in rows):,}" for key in
                                             ("weights", "weight_bits", "macs")))
    return table
