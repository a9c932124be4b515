"""Map of an index: neighbours stay close; the page holds its tiles and escapes names."""

import base64
import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.manifold import trustworthiness

from ibc_pyg.cli import run
from ibc_pyg.collections.layout import Layout, make_layout
from ibc_pyg.collections.page.map import write_map_page
from ibc_pyg.errors import RunError
from tests.helpers.vector_index import clustered, make_vector_index


def test_neighbours_stay_close(tmp_path):
    vectors, classes = clustered(120, 16, clusters=4, noise=0.2)
    layout = make_layout(make_vector_index(tmp_path / "i", vectors, classes))
    rows = [int(path.rsplit("/", 1)[1].removesuffix(".png")) for path in layout.paths]
    assert trustworthiness(vectors[rows], layout.xy, n_neighbors=8) > 0.85
    assert layout.xy.min() >= 0
    assert layout.xy.max() <= 1
    assert "t-SNE" in layout.method


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_pictures(tmp_path, count):
    layout = make_layout(make_vector_index(tmp_path / "i", clustered(count, 8)[0]))
    assert layout.xy.shape == (count, 2)
    assert np.isfinite(layout.xy).all()


def test_of_many_pictures_some_are_drawn(tmp_path):
    index = make_vector_index(tmp_path / "i", clustered(40, 8)[0])
    layouts = [make_layout(index, most=10, seed=seed) for seed in (0, 0, 1)]
    assert layouts[0].paths == layouts[1].paths != layouts[2].paths
    assert (len(layouts[0].paths), layouts[0].total) == (10, 40)


def test_without_the_library(tmp_path, monkeypatch):
    index = make_vector_index(tmp_path / "i", clustered(5, 4)[0])
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(RunError, match=r"ibc-pyg\[map\]"):
        make_layout(index)


def test_page_has_a_tile_for_each_picture(tmp_path):
    paths = []
    for place in range(40):
        paths.append(str(tmp_path / f"{place}</script><b>.png".replace("/", ":")))
        Image.new("RGB", (30, 20), (6 * place, 0, 0)).save(paths[-1])
    xy = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    labels = ["<i>", None] * 20
    write_map_page(tmp_path / "m.html", Layout(xy, paths, labels, 40, "PCA"), "<b>")
    page = (tmp_path / "m.html").read_text()
    assert "<b>.png" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert len(data["names"]) == 40
    assert data["classes"] == ["<i>"]
    assert np.allclose(np.array(data["xy"]).reshape(-1, 2) / 65535, xy, atol=1e-4)
    (sheet,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    tiles = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))))
    for place in range(40):
        row, column = divmod(place, data["columns"])
        at = tiles[int((row + 0.5) * data["side"])]
        assert abs(int(at[int((column + 0.5) * data["side"])][0]) - 6 * place) <= 6


def test_command(tmp_path, capsys):
    index = make_vector_index(tmp_path / "i", clustered(20, 8)[0])
    assert run(["index", "map", str(index.path), "--html", str(tmp_path / "m.html")]) == 0
    assert "20 pictures" in capsys.readouterr().out
    assert "default-src" in (tmp_path / "m.html").read_text()
