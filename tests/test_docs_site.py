"""The documentation as a site: reference against the code, pictures against files, links."""

import dataclasses
import html
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints
from urllib.parse import unquote, urlsplit

import pytest

from ibc_pyg.commands import COMMANDS
from ibc_pyg.config import Config, TermConfig

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    return load(ROOT / "docs" / "_reference.py")


@pytest.fixture(scope="module")
def results():
    return load(ROOT / "docs" / "diagrams" / "results.py")


def test_the_reference_has_every_field_with_a_description(reference):
    page = reference.experiment_page()
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| (.+) \|$", page, re.M)
    found = {row[0]: row for row in rows}
    hints = get_type_hints(Config)
    wanted = {each.name for each in dataclasses.fields(TermConfig)}
    for each in dataclasses.fields(Config):
        if dataclasses.is_dataclass(kind := hints[each.name]):
            wanted |= {f"{each.name}.{field.name}" for field in dataclasses.fields(kind)}
        else:
            wanted.add(each.name)
    assert set(found) == wanted
    assert all(len(row[3]) > 10 for row in rows)
    assert found["data.val_fold"][1:3] == ("whole number in [0, 10000]", "`0`")


def test_the_reference_has_the_help_of_every_command(reference):
    page = reference.commands_page()
    headings = re.findall(r"^## (\S+)$", page, re.M)
    assert headings == [command.NAME for command in COMMANDS]
    assert "### index build" in page
    assert page.count("usage: run.py ") == len(re.findall(r"^###? ", page, re.M))


def test_pictures_show_the_recorded_values(results):
    lines = results.layer_lines()
    recorded = json.loads((ROOT / "benchmarks/results/layers.json").read_text())["results"]
    for each in recorded:
        if each["layer"] in lines and each["forward_backward"] is not None:
            assert (each["nodes"], 1000 * each["forward_backward"]) in lines[each["layer"]]
    assert all(len(points) > 2 for points in results.retrieval_lines().values())
    # As in docs/results.md: +6.6 +- 2.7 on Omniglot for cross-entropy.
    first = results.differences("omniglot_baselines", "")[0]
    assert (first.name, round(first.mean, 1), round(first.half_width, 1)) == ("ce", 6.6, 2.7)
    control = results.differences("glyphs_baselines", ", no messages")[1]
    assert (control.name, round(control.mean, 1)) == ("multi_similarity", 0.6)
    for draw in (results.draw_layers, results.draw_retrieval, results.draw_forest):
        draw().canvas.draw()


def test_the_site_builds_and_its_links_lead_somewhere(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(pages) > 25
    for path, text in pages.items():
        # Nothing is loaded from elsewhere.
        assert not re.findall(r'<(?:script|img|iframe|source)[^>]+src(?:set)?="https?:', text), path
        assert not re.findall(r'<link[^>]+href="https?:', text), path
        assert not re.findall(r"<td[^>]*>[^<]*\\&lt;", text), path
        for link in re.findall(r'(?:href|src|srcset)="([^"]+)"', text):
            parts = urlsplit(html.unescape(link))
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = path
            if parts.path:
                start = tmp_path if parts.path.startswith("/") else path.parent
                target = (start / unquote(parts.path).lstrip("/")).resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert f'id="{unquote(parts.fragment)}"' in pages[target], f"{path}: {link}"
