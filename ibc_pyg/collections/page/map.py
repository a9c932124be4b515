"""Page of a map: one file with all pictures as tiles of a few large ones."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from ibc_pyg.collections.layout import Layout
from ibc_pyg.collections.page.page import script_file, write_page
from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.data.images.decode import decode_image, to_pillow
from ibc_pyg.errors import DatasetError, printable
from ibc_pyg.pages import data_uri
from ibc_pyg.threads import map_ahead

_COLUMNS = 32
"""Tiles along a side of a sheet."""
_SIDES = ((2_000, 96), (6_000, 64), (20_000, 40))
"""Most pictures, and pixels of a side of their tiles."""
_COLOURED = 12
_BLANK = (200, 200, 200)


def write_map_page(path: Path, layout: Layout, title: str) -> None:
    """Write the page of a map, which is zoomed by wheel and keys and moved by dragging.

    Args:
        path: The HTML file.
        layout: Places of the pictures.
        title: Title of the page.

    Raises:
        RunError: If the file cannot be written.
    """
    side = next((side for most, side in _SIDES if len(layout.paths) <= most), _SIDES[-1][1])
    counts = Counter(label for label in layout.labels if label is not None)
    names = sorted(counts, key=lambda label: (-counts[label], label))
    number = {label: place for place, label in enumerate(names)}
    data = {
        "xy": np.round(layout.xy * 65535).astype(int).ravel().tolist(),
        "names": [printable(Path(each).name) for each in layout.paths],
        "labels": [-1 if label is None else number[label] for label in layout.labels],
        "classes": [printable(name) for name in names],
        "side": side,
        "columns": _COLUMNS,
    }
    drawn = len(layout.paths)
    of = f" of {layout.total:,}, drawn at random" if drawn < layout.total else ""
    write_page(
        path,
        "map.html.j2",
        title,
        [
            f"{drawn:,} pictures{of}; {layout.method}. Neighbours stay close; distances between "
            "groups mean little."
        ],
        script=script_file("map.js"),
        # `<` would end the element.
        data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
        sheets=list(_sheets(layout.paths, side)),
        legend=[(name, counts[name]) for name in names[:_COLOURED]],
        others=len(names) - _COLOURED,
    )


def _sheets(paths: list[str], side: int) -> Iterator[str]:
    """Yield data URIs of sheets of tiles, `_COLUMNS` by `_COLUMNS`."""
    threads = decoding_threads()
    each = _COLUMNS * _COLUMNS
    with ThreadPoolExecutor(threads) as pool:
        tiles = map_ahead(pool, lambda path: _tile(path, side), paths, 8 * threads)
        for start in range(0, len(paths), each):
            number = min(each, len(paths) - start)
            rows = -(-number // _COLUMNS)
            sheet = Image.new("RGB", (_COLUMNS * side, rows * side), _BLANK)
            for place in range(number):
                corner = (place % _COLUMNS * side, place // _COLUMNS * side)
                sheet.paste(next(tiles), corner)
            file = io.BytesIO()
            sheet.save(file, "JPEG", quality=72)
            yield data_uri("jpeg", file.getvalue())


def _tile(path: str, side: int) -> Image.Image:
    """Return the middle of a picture, `side` pixels square, or a blank tile."""
    try:
        pixels = decode_image(Path(path), shrink_to=side)  # [3, H, W]
    except DatasetError:
        return Image.new("RGB", (side, side), _BLANK)
    image = to_pillow(pixels)
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.crop((left, top, left + short, top + short))
    return square.resize((side, side), Image.Resampling.LANCZOS)
