"""Draw the rooms of the package and their imports, read from the source.

    python docs/diagrams/rooms.py

writes docs/images/rooms.png: a room stands above all that it imports, and an arrow leads from a
room to one that it imports. Arrows that follow from others are left out.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ibc_pyg"
# Colours that can be read on a light and on a dark page.
BOX, EDGE, TEXT, SOFT, ARROW = "#e6edf5", "#7890ab", "#1f2328", "#57616c", "#7d8a99"
BOX_WIDTH, BOX_HEIGHT, FLOOR = 1.5, 0.46, 0.84  # inches


@dataclass(frozen=True, order=True)
class Bend:
    """Where an arrow passes a floor between its two rooms."""

    start: str
    end: str
    floor: int


Place = str | Bend
Imports = dict[str, set[str]]


def imports_of(file: Path) -> Iterator[str]:
    """Yield the rooms that a file imports at run time, also within functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types:
            module = (node.module or "").split(".")
            if module[0] == PACKAGE.name:
                yield from module[1:2] or (name.name for name in node.names)
        elif isinstance(node, ast.Import) and id(node) not in for_types:
            for name in node.names:
                yield from name.name.removeprefix(f"{PACKAGE.name}.").split(".")[:1]


def read_rooms() -> tuple[Imports, dict[str, int]]:
    """Return the imports of every room, and its number of files."""
    files: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if room != "__init__":
            files.setdefault(room, []).append(file)
    imports = {
        room: {name for file in members for name in imports_of(file) if name in files} - {room}
        for room, members in files.items()
    }
    return imports, {room: len(members) for room, members in files.items()}


def below(room: str, imports: Imports, path: tuple[str, ...] = ()) -> set[str]:
    """Return all rooms that a room imports, directly or not."""
    if room in path:
        raise SystemExit(f"imports form a circle: {' -> '.join((*path, room))}")
    found = set(imports[room])
    for name in imports[room]:
        found |= below(name, imports, (*path, room))
    return found


def needed(imports: Imports) -> Imports:
    """Leave out each import that follows from others."""
    return {
        room: {
            name
            for name in names
            if not any(name in below(other, imports) for other in names - {name})
        }
        for room, names in imports.items()
    }


def make_floors(imports: Imports) -> tuple[list[list[Place]], list[list[Place]]]:
    """Return the places on each floor, lowest first, and the places that each arrow passes."""
    height: dict[str, int] = {}
    for room in sorted(imports, key=lambda name: len(below(name, imports))):
        height[room] = 1 + max((height[name] for name in imports[room]), default=-1)
    floors: list[list[Place]] = [[] for _ in range(1 + max(height.values()))]
    for room in sorted(imports):
        floors[height[room]].append(room)
    arrows: list[list[Place]] = []
    for room, names in sorted(needed(imports).items()):
        for name in sorted(names):
            bends = [Bend(room, name, floor) for floor in range(height[room] - 1, height[name], -1)]
            for bend in bends:
                floors[bend.floor].append(bend)
            arrows.append([room, *bends, name])
    return floors, arrows


def width(place: Place) -> float:
    """Return the room that a place takes on its floor, in inches."""
    return BOX_WIDTH + 0.3 if isinstance(place, str) else 0.22


def arrange(floors: list[list[Place]], arrows: list[list[Place]]) -> dict[Place, float]:
    """Return the horizontal position of each place, near its neighbours and the middle."""
    neighbours: dict[Place, list[Place]] = {place: [] for floor in floors for place in floor}
    for places in arrows:
        for upper, lower in itertools.pairwise(places):
            neighbours[upper].append(lower)
            neighbours[lower].append(upper)
    x: dict[Place, float] = {}

    def pack(floor: list[Place], wanted: dict[Place, float]) -> None:
        ends = list(itertools.accumulate(width(place) for place in floor))
        starts = [end - width(place) / 2 for end, place in zip(ends, floor, strict=True)]
        offsets = [wanted[place] - start for place, start in zip(floor, starts, strict=True)]
        shift = sum(offsets) / len(offsets)
        x.update({place: start + shift for place, start in zip(floor, starts, strict=True)})

    for floor in floors:
        pack(floor, dict.fromkeys(floor, 0.0))
    for step in range(60):
        for floor in floors if step % 2 else reversed(floors):
            wanted = {
                place: 0.8 * sum(x[other] for other in neighbours[place]) / len(neighbours[place])
                if neighbours[place]
                else x[place]
                for place in floor
            }
            floor.sort(key=lambda place: wanted[place])
            pack(floor, wanted)
    return x


def draw(floors: list[list[Place]], arrows: list[list[Place]], files: dict[str, int]) -> Figure:
    """Return the drawing."""
    x = arrange(floors, arrows)
    y = {place: FLOOR * (level + 0.5) for level, floor in enumerate(floors) for place in floor}
    left = min(x[place] - width(place) / 2 for place in x)
    right = max(x[place] + width(place) / 2 for place in x)
    figure = Figure(figsize=(right - left, FLOOR * len(floors)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(0, FLOOR * len(floors)), aspect="equal")
    axes.axis("off")
    for places in arrows:
        tip = (x[places[-1]], y[places[-1]] + BOX_HEIGHT / 2)
        vertices = [(x[places[0]], y[places[0]] - BOX_HEIGHT / 2)]
        codes = [Curve.MOVETO]
        for place in places[1:]:
            # A curve to the next floor, then a straight line past its boxes.
            x0, y0 = vertices[-1]
            x1, y1 = x[place], y[place] + BOX_HEIGHT / 2 + (0.1 if place == places[-1] else 0)
            middle = (y0 + y1) / 2
            vertices += [(x0, middle), (x1, middle), (x1, y1)]
            codes += [Curve.CURVE4] * 3
            if place != places[-1]:
                vertices.append((x1, y[place] - BOX_HEIGHT / 2))
                codes.append(Curve.LINETO)
        curve = Curve(vertices, codes)
        axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=ARROW, linewidth=1.3))
        head = [tip, (tip[0] - 0.055, tip[1] + 0.12), (tip[0] + 0.055, tip[1] + 0.12)]
        axes.add_patch(Polygon(head, facecolor=ARROW, linewidth=0))
    for room, count in files.items():
        axes.add_patch(
            FancyBboxPatch(
                (x[room] - BOX_WIDTH / 2, y[room] - BOX_HEIGHT / 2),
                BOX_WIDTH,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=BOX,
                edgecolor=EDGE,
                linewidth=1.1,
            )
        )
        is_folder = (PACKAGE / room).is_dir()
        name, detail = (room, f"{count} files") if is_folder else (f"{room}.py", "")
        axes.text(
            x[room],
            y[room] + (0.07 if detail else 0),
            name,
            ha="center",
            va="center",
            size=11,
            weight="bold",
            color=TEXT,
        )
        axes.text(x[room], y[room] - 0.12, detail, ha="center", va="center", size=8, color=SOFT)
    return figure


def main() -> None:
    """Write the drawing."""
    mpl.rcParams["font.family"] = "DejaVu Sans"
    imports, files = read_rooms()
    floors, arrows = make_floors(imports)
    draw(floors, arrows, files).savefig(
        ROOT / "docs" / "images" / "rooms.png",
        dpi=130,
        transparent=True,
        metadata={"Software": None},
        pil_kwargs={"optimize": True},
    )


if __name__ == "__main__":
    main()
