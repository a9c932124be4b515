"""Copies, hashes and versions of plugged code in a run folder."""

import hashlib
import json
from pathlib import Path

import pytest

from ibc_pyg.config import Config, LossConfig, TermConfig
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.errors import RunError
from ibc_pyg.runs.source_record import (
    check_sources,
    digests,
    first_changed,
    kept_references,
    read_sources,
    record_sources,
)


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("class Own: pass\n")
    return file


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_copy_of_each_file_is_kept(own, run, tmp_path):
    other = tmp_path / "sub" / "own.py"
    other.parent.mkdir()
    other.write_text("class Other: pass\n")
    names = [f"{own}:Own", f"{own}:Second", f"{other}:Other"]
    record_sources(run, names)
    own.unlink()
    kept = kept_references(run)
    assert kept.keys() == set(names)
    for name, text in zip(names, ["class Own", "class Own", "class Other"], strict=True):
        file, _, cls = kept[name].rpartition(":")
        assert Path(file).read_text().startswith(text)
        assert cls == name.rpartition(":")[2]
    assert len(list((run / "code").iterdir())) == 2


def test_changed_code_is_refused_by_name_and_the_advice_works(own, run):
    name = f"{own}:Own"
    before = digests([name])
    record_sources(run, [name])
    check_sources(run, [name])
    own.write_text("class Own: changed = 1\n")
    assert first_changed(before) == name
    with pytest.raises(RunError, match=r"own\.py has changed .* new --out .*: cp ") as error:
        check_sources(run, [name])
    copy, file = map(Path, str(error.value).split(": cp ")[1].split())
    own.write_bytes(copy.read_bytes())
    assert file == own
    check_sources(run, [name])
    assert first_changed(before) is None


def test_a_file_that_has_gone_is_not_a_changed_one(own, run):
    record_sources(run, [f"{own}:Own"])
    own.unlink()
    check_sources(run, [f"{own}:Own"])


def test_a_copy_that_was_changed_is_not_used(own, run):
    record_sources(run, [f"{own}:Own"])
    (run / "code" / "own.py").write_text("class Own: pass  # another\n")
    with pytest.raises(RunError, match=r"code.own\.py is missing or was changed"):
        kept_references(run)


def test_versions_of_packages(run, monkeypatch):
    name = "torch_geometric.nn.conv.GCNConv"
    record_sources(run, [name])
    source = read_sources(run)[name]
    assert source.package.replace("_", "-") == "torch-geometric"
    assert source.copy is None
    assert source.file.endswith("__init__.py")
    check_sources(run, [name])
    monkeypatch.setattr("ibc_pyg.runs.source_record.metadata.version", lambda package: "0.1")
    with pytest.raises(RunError, match=r"0\.1 is installed, but .* made with"):
        check_sources(run, [name])


def test_a_loose_module_is_compared_by_its_content(tmp_path, run, monkeypatch):
    file = tmp_path / "loose_module_of_a_test.py"
    file.write_text("class Own: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "loose_module_of_a_test.Own"
    record_sources(run, [name])
    check_sources(run, [name])
    file.write_text("class Own: changed = 1\n")
    with pytest.raises(RunError, match=r"loose_module_of_a_test\.py has changed"):
        check_sources(run, [name])


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package that adds the name `our_loss`; return the files of its code and names."""
    info = tmp_path / "our_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-package\nVersion: 1.0\n")
    points = info / "entry_points.txt"
    points.write_text("[ibc_pyg.plugins]\nour_loss = losses_of_a_test:Own\n")
    code = tmp_path / "losses_of_a_test.py"
    code.write_text("class Own: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return code, points


def test_the_code_behind_an_entry_point_is_recorded(package, run):
    code, _ = package
    config = Config(loss=LossConfig(terms=[TermConfig("our_loss")]))
    names = plugged_sources(config)
    record_sources(run, names)
    source = read_sources(run)["our_loss"]
    assert (source.package, source.version) == ("our-package", "1.0")
    assert source.sha256 == hashlib.sha256(code.read_bytes()).hexdigest()
    assert source.target == "losses_of_a_test:Own"
    assert source.copy is None
    check_sources(run, names)
    before = digests(names)
    code.write_text("class Own: changed = 1\n")
    assert first_changed(before) == "our_loss"
    with pytest.raises(RunError, match=r"losses_of_a_test\.py has changed .* new --out"):
        check_sources(run, names)


def test_another_version_or_target_of_an_entry_point_is_refused(package, run):
    _, points = package
    record_sources(run, ["our_loss"])
    points.write_text("[ibc_pyg.plugins]\nour_loss = losses_of_a_test:Other\n")
    with pytest.raises(RunError, match=r"our_loss is now losses_of_a_test:Other, but .*:Own"):
        check_sources(run, ["our_loss"])
    points.write_text("[ibc_pyg.plugins]\n")
    with pytest.raises(RunError, match="our_loss is now missing"):
        check_sources(run, ["our_loss"])
    points.write_text("[ibc_pyg.plugins]\nour_loss = losses_of_a_test:Own\n")
    metadata = points.with_name("METADATA")
    metadata.write_text("Metadata-Version: 2.1\nName: our-package\nVersion: 2.0\n")
    with pytest.raises(RunError, match=r"our-package 2\.0 is installed, but .* with 1\.0"):
        check_sources(run, ["our_loss"])


def test_without_plugged_code_there_is_no_record(own, run):
    record_sources(run, [f"{own}:Own"])
    record_sources(run, [])
    assert not (run / "code.json").exists()
    assert read_sources(run) == {}
    check_sources(run, [f"{own}:Own"])


@pytest.mark.parametrize(
    "fields",
    [
        {"file": "a.py", "sha256": "0", "copy": "../../evil.py"},
        {"file": "a.py", "sha256": 1},
        {"other": 1},
        [],
        3,
    ],
)
def test_a_damaged_record_is_one_line(run, fields):
    (run / "code.json").write_text(json.dumps({"a.py:A": fields}))
    with pytest.raises(RunError, match=r"code\.json is damaged"):
        read_sources(run)
