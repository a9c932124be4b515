"""A batch as a graph: thumbnails on a circle, the strongest edges between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ibc_pyg.report.data import BatchGraph, Thumb

SIDE = 900
"""Side of the drawing."""
_RADIUS = 400
_MOST_THUMB = 56


@dataclass(frozen=True)
class Edge:
    """An edge of the drawing.

    Attributes:
        path: SVG path from the sender to the receiver.
        width: Width of the line.
        opacity: Opacity of the line.
        same: Whether both are of one class.
        text: Sender, receiver and weight.
    """

    path: str
    width: float
    opacity: float
    same: bool
    text: str


@dataclass(frozen=True)
class Node:
    """A node of the drawing: picture, corner, and number of its class."""

    thumb: Thumb
    x: float
    y: float
    group: int


@dataclass(frozen=True)
class GraphView:
    """Contents of the drawing.

    Attributes:
        nodes: Nodes.
        edges: Edges, weakest first, so that strong ones lie above.
        thumb: Side of a picture.
        same: Share of the edges within a class.
        top: Weight of the strongest edge.
        mean: Mean weight of all edges.
    """

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    thumb: float
    same: float
    top: float
    mean: float


def graph_view(graph: BatchGraph | None) -> GraphView | None:
    """Return the drawing of a batch, or None if the run has no attention."""
    if graph is None or not graph.nodes:
        return None
    thumb = min(_MOST_THUMB, 1.9 * np.pi * _RADIUS / (1.25 * len(graph.nodes)))
    centre = SIDE / 2
    places = centre + graph.places * _RADIUS  # [N, 2]
    inner = centre + graph.places * (_RADIUS - 0.75 * thumb)  # [N, 2]
    top = graph.edges[0][2] if graph.edges else 0.0
    edges = []
    for receiver, sender, weight in reversed(graph.edges):
        (x1, y1), (x2, y2) = inner[sender], inner[receiver]
        # Bent towards the middle, so that edges of neighbours do not cover the pictures.
        cx, cy = (
            centre + 0.35 * (x1 + x2 - 2 * centre) / 2,
            centre + 0.35 * (y1 + y2 - 2 * centre) / 2,
        )
        strength = graph.strength(weight)
        a, b = graph.nodes[sender].label, graph.nodes[receiver].label
        edges.append(
            Edge(
                f"M{x1:.1f} {y1:.1f}Q{cx:.1f} {cy:.1f} {x2:.1f} {y2:.1f}",
                round(0.7 + 2.8 * strength, 2),
                round(0.18 + 0.72 * strength, 2),
                a == b,
                f"{a} to {b}: {100 * weight:.1f} %",
            )
        )
    group, nodes = 0, []
    for number, each in enumerate(graph.nodes):
        group += number > 0 and each.label != graph.nodes[number - 1].label
        x, y = places[number] - thumb / 2
        nodes.append(Node(each, round(float(x), 1), round(float(y), 1), group))
    same = sum(edge.same for edge in edges) / len(edges) if edges else 0.0
    return GraphView(nodes, edges, round(float(thumb), 1), same, top, graph.mean)
