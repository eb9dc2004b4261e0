"""The dataflow graph of a report as a drawing: a box a layer, a line a stream."""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from bokeh.plotting import figure

from .charts import INK, LINE, RED, Chart, blank, short
from .layout import Layout, place

__all__ = ["dataflow_chart"]

BOX, GAP = 218, 14  # pixels: width of a box, and between two
TEXT_LINE, PADDING = 14, 7  # pixels: height of a line of text, and above and below it
BETWEEN = 68  # pixels between ranks, for what a stream carries
BENDING = 24  # pixels of them in which lines lean; beside the rest is the text
LETTERS = 36  # of a line in a box
FILLS = {"layer": "#DCEBF7", "bottleneck": "#FBE0D0", "end": "#E8E8E8"}


def dataflow_chart(report: Mapping[str, Any]) -> Chart:
    """Boxes of layers with folding and blocks, and between them the streams, with the bits and
    lanes of a beat and the depth of their FIFO. Its width is fixed."""
    nodes = {node["name"]: node for node in report["graph"]["nodes"]}
    groups: dict[str, list[str]] = {}
    for node in nodes.values():
        groups.setdefault(_group(node), []).append(node["name"])
    streams = [(_group(nodes[edge["from"]]), _group(nodes[edge["to"]]), edge)
               for edge in report["graph"]["edges"]]
    layout = place(list(groups), [(a, b) for a, b, _ in streams if a != b])
    texts = {group: _text(report, group, [nodes[name] for name in names],
                          [edge for a, b, edge in streams if a == b == group])
             for group, names in groups.items()}
    return Chart(_drawn(report, layout, texts, streams))


def _group(node: Mapping[str, Any]) -> str:
    """Key of the box that a block is in; the design's two ends have their own."""
    return f"end:{node['name']}" if node["layer"] is None else f"layer:{node['layer']}"


def _text(report: Mapping[str, Any], group: str, nodes: list[Mapping[str, Any]],
          inner: list[Mapping[str, Any]]) -> list[str]:
    """Lines of a box: name and shape, folding, blocks and the FIFOs between them."""
    kind, name = group.split(":", 1)
    if kind == "end":
        return [f"{name} ({nodes[0]['block']})"]
    layer = next(layer for layer in report["layers"] if layer["name"] == name)
    lines = [short(name, 30)]
    if layer["shape"]:
        lines[0] = f"{short(name, 18)}   {' x '.join(map(str, layer['shape']))}"
    folding = " ".join(f"{key}={value}" for key, value in layer["folding"].items())
    return lines + wrap(folding, LETTERS) + wrap(_chain(nodes, inner), LETTERS)


def _chain(nodes: list[Mapping[str, Any]], inner: list[Mapping[str, Any]]) -> str:
    """Blocks in order, equal ones side by side together, with the FIFOs in front of each."""
    parts: list[tuple[str, str, int]] = []  # FIFOs, block, how many
    for node in nodes:
        depths = [str(edge["fifo_depth"]) for edge in inner
                  if edge["to"] == node["name"] and edge["fifo_depth"]]
        fifos = f"FIFO {'/'.join(depths)} > " if depths else ""
        if parts and not fifos and parts[-1][:2] == ("", node["block"]):
            parts[-1] = "", node["block"], parts[-1][2] + 1
        else:
            parts.append((fifos, node["block"], 1))
    return " > ".join(fifos + (f"{count} {block}s" if count > 1 else block)
                      for fifos, block, count in parts)


def _drawn(report: Mapping[str, Any], layout: Layout, texts: Mapping[str, list[str]],
           streams: list[tuple[str, str, Mapping[str, Any]]]) -> figure:
    heights = {group: len(lines) * TEXT_LINE + 2 * PADDING for group, lines in texts.items()}
    tops, bottom = [], 4.0
    for row in layout.ranks:
        tops.append(bottom)
        bottom += max(heights[group] for group in row) + BETWEEN
    height, width = int(bottom - BETWEEN + 4), int(layout.width * (BOX + GAP)) + 8
    plot = blank(width=width, height=height, x_range=(-width / 2, width / 2),
                 y_range=(height, 0), min_border=0)
    plot.axis.visible = plot.grid.visible = False
    rank = layout.rank
    # A box is in the middle of its rank's height.
    middle = {group: tops[rank[group]] + max(heights[g] for g in layout.ranks[rank[group]]) / 2
              for group in texts}
    x = {group: column * (BOX + GAP) for group, column in layout.columns.items()}
    _draw_routes(plot, layout, streams, x, middle, heights, tops)
    _draw_boxes(plot, report, texts, x, middle, heights)
    return plot


def _draw_boxes(plot: figure, report: Mapping[str, Any], texts: Mapping[str, list[str]],
                x: Mapping[str, float], middle: Mapping[str, float],
                heights: Mapping[str, float]) -> None:
    slow = {f"layer:{name}" for name in report["schedule"]["bottleneck"]}
    kinds = ["bottleneck" if group in slow else group.split(":")[0] for group in texts]
    plot.rect(x=[x[g] for g in texts], y=[middle[g] for g in texts], width=BOX,
              height=[heights[g] for g in texts], fill_color=[FILLS[kind] for kind in kinds],
              line_color=[RED if kind == "bottleneck" else "#5A6B7B" for kind in kinds],
              line_width=[2.5 if kind == "bottleneck" else 1 for kind in kinds])
    for bold in (True, False):
        lines = [(group, n, line) for group, all_lines in texts.items()
                 for n, line in enumerate(all_lines) if (n == 0) == bold]
        plot.text(x=[x[group] - BOX / 2 + 8 for group, _, _ in lines],
                  y=[middle[group] - heights[group] / 2 + PADDING + (n + 0.5) * TEXT_LINE
                     for group, n, _ in lines],
                  text=[line for _, _, line in lines], text_color="#111111",
                  text_baseline="middle", text_font_size="12px" if bold else "11px",
                  text_font_style="bold" if bold else "normal")


def _draw_routes(plot: figure, layout: Layout, streams: list[tuple[str, str, Mapping[str, Any]]],
                 x: Mapping[str, float], middle: Mapping[str, float],
                 heights: Mapping[str, float], tops: list[float]) -> None:
    rank = layout.rank
    readers = {source: sum(r.source == source for r in layout.routes) for source in x}
    labels: list[tuple[float, float, str]] = []
    xs, ys, ends = [], [], []
    for route in layout.routes:
        found = [edge for a, b, edge in streams if (a, b) == (route.source, route.target)]
        start = x[route.source], middle[route.source] + heights[route.source] / 2
        end = x[route.target], middle[route.target] - heights[route.target] / 2
        at_end = readers[route.source] > 1
        points = [start]
        if not at_end:
            points.append((start[0], start[1] + BETWEEN - BENDING))
        for level, column in enumerate(route.columns, rank[route.source] + 1):
            points += [(column * (BOX + GAP), tops[level] - 2),
                       (column * (BOX + GAP), tops[level + 1] - BENDING)]
        if at_end and not route.columns:
            points.append((end[0], end[1] - BETWEEN + BENDING))
        points.append(end)
        xs.append([p[0] for p in points])
        ys.append([p[1] for p in points])
        ends.append(end)
        # Where the lines of several streams meet there is no room for their texts.
        near = end if at_end else start
        if at_end and route.columns:
            near = points[1][0], points[1][1] + BETWEEN
        labels += [(near[0], near[1] + (-34 if at_end else 13), _first_line(found)),
                   (near[0], near[1] + (-21 if at_end else 26), _second_line(found))]
    plot.multi_line(xs=xs, ys=ys, line_color=LINE, line_width=2)
    plot.scatter(x=[p[0] for p in ends], y=[p[1] - 4 for p in ends], marker="inverted_triangle",
                 size=9, color=LINE)
    plot.text(x=[p[0] + 6 for p in labels], y=[p[1] for p in labels], text=[p[2] for p in labels],
              text_color=INK, text_font_size="11px", text_baseline="middle")


def _first_line(edges: list[Mapping[str, Any]]) -> str:
    edge = edges[0]
    more = f" ({len(edges)} streams)" if len(edges) > 1 else ""
    return f"{edge['bits']} bit: {edge['lanes']} x {edge['type']}{more}"


def _second_line(edges: list[Mapping[str, Any]]) -> str:
    depths = [str(edge["fifo_depth"]) for edge in edges if edge["fifo_depth"]]
    return f"FIFO {', '.join(depths)}" if depths else "no FIFO"
