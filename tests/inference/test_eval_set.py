"""Test images of a run: recorded with the run, embedded once for the same weights."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file

from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.evaluation.scores import score
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run
from ibc_pyg.report.from_run import make_report
from ibc_pyg.retrieval.search import search
from ibc_pyg.training.run import train

SAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "sample.yaml"


def trained_on(name, folder):
    make_sample(name, folder / "pictures")
    fields = ["--data.name", name, "--data.root", str(folder / "pictures"),
              "--data.workers", "0", "--train.epochs", "1", "--track.report", "false",
              "--train.lr_milestones", "[]"]  # fmt: skip
    if name != "folder":
        fields += ["--data.allow_partial", "true"]
    config = parse_config(SAMPLE, fields)
    return train(config, folder / "run", Console(file=io.StringIO())).path


@pytest.fixture(scope="module", params=["folder", "inshop", "csv"])
def original(request, tmp_path_factory):
    """A run on files; In-Shop has a gallery of its own."""
    return trained_on(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def path(original, tmp_path):
    """A copy that a test may change, with its pictures."""
    shutil.copytree(original.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / "run"
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(str(original.parent), str(copy.parent)))
    return copy


def test_the_recorded_split_is_that_of_the_data_set(path):
    run = load_run(path)
    recorded = EvalSet(run)
    (path / "split.json").rename(path / "hidden.json")
    loaded = EvalSet(load_run(path))
    assert loaded.trained.record is None
    assert recorded.table.paths == loaded.table.paths
    assert recorded.table.class_names == loaded.table.class_names
    assert recorded.table.root.resolve() == loaded.table.root.resolve()
    for part in ("labels", "roles"):
        assert (getattr(recorded.table, part) == getattr(loaded.table, part)).all()
    assert (recorded.splits.train == loaded.splits.train).all()
    assert (recorded.splits.train_labels == loaded.splits.train_labels).all()
    assert (recorded.splits.test.queries == loaded.splits.test.queries).all()


def test_cached_embeddings_equal_extracted_ones(path):
    images = EvalSet(load_run(path))
    cached, fresh = images.descriptors(), images.extract()
    assert torch.equal(cached.queries.vectors, fresh.queries.vectors)
    assert torch.equal(cached.candidates.vectors, fresh.candidates.vectors)
    assert (cached.queries.rows == fresh.queries.rows).all()
    assert torch.equal(cached.candidates.labels, fresh.candidates.labels)


def test_embeddings_of_other_weights_are_computed_again(path):
    images = EvalSet(load_run(path))
    other = images.extract()
    other.candidates.vectors.zero_()
    images.save(other)
    weights = path / "model.safetensors"
    assert not images.descriptors().candidates.vectors.any()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # the last bit of a weight
    weights.write_bytes(content)
    assert EvalSet(load_run(path)).descriptors().candidates.vectors.any()


def test_pictures_added_later_do_not_change_the_scores(path):
    run = load_run(path)
    before = score(EvalSet(run).extract(), run.config.evaluate, seed=0)
    pictures = sorted((path.parent / "pictures").rglob("*.jpg"))
    for picture in pictures:
        shutil.copy(picture, picture.with_name("0" + picture.name))
    again = load_run(path)
    assert score(EvalSet(again).extract(), again.config.evaluate, seed=0) == before


def test_search_and_report_without_the_data_set(path):
    images = EvalSet(load_run(path))
    row = int(images.gallery().rows[0])
    picture = shutil.copy(images.path(row), path.parent / "query.jpg")
    shutil.rmtree(path.parent / "pictures")
    run = load_run(path)
    hits = search(run, picture, 1)
    assert hits[0].path == images.path(row)
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    report = make_report(EvalSet(run))
    assert "cannot be read" in report.facts["pictures"]
    assert report.attention is None
    with pytest.raises(UserError, match="pictures"):
        EvalSet(run).extract()


def test_moved_data_set_is_found_at_its_new_root(path, tmp_path):
    before = EvalSet(load_run(path)).extract()
    shutil.move(path.parent / "pictures", tmp_path / "moved")
    config = (path / "config.yaml").read_text()
    old, new = str(path.parent / "pictures"), str(tmp_path / "moved")
    (path / "config.yaml").write_text(config.replace(old, new))
    after = EvalSet(load_run(path)).extract()
    assert torch.equal(before.queries.vectors, after.queries.vectors)


def test_search_in_a_read_only_run_folder(path, monkeypatch):
    (path / "descriptors.safetensors").unlink()

    def read_only(*arguments, **options):
        raise RunError("read-only")

    monkeypatch.setattr(EvalSet, "save", read_only)
    images = EvalSet(load_run(path))
    assert len(search(images.trained, Path(images.path(0)), 3)) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:100],
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"labels": [', '"labels": [99999, '),
        lambda text: text.replace('"roles": [', '"roles": ["a", '),
        lambda text: text.replace('"paths": [', '"paths": [7, '),
        lambda text: text.replace('"val_rows": null', '"val_rows": [123456]'),
        lambda text: text.replace('"image_shape"', '"shape"'),
        lambda text: text.replace('"image_shape": null', '"image_shape": [1, 2]'),
    ],
)
def test_damaged_record_is_a_one_line_error(path, damage):
    record = path / "split.json"
    record.write_text(damage(record.read_text()))
    with pytest.raises(RunError, match=r"split\.json") as caught:
        load_run(path)
    assert "\n" not in str(caught.value)


def test_a_replaced_picture_is_embedded_again(path, caplog):
    images = EvalSet(load_run(path))
    before = images.descriptors().candidates
    row = int(before.rows[0])
    other = Path(images.path(int(before.rows[-1])))
    shutil.copy(other, images.path(row))
    after = EvalSet(load_run(path)).descriptors().candidates
    assert "1 test images have other files" in caplog.text
    assert not torch.equal(before.vectors[0], after.vectors[0])
    caplog.clear()
    again = EvalSet(load_run(path)).descriptors().candidates
    assert torch.equal(again.vectors, after.vectors)
    assert not caplog.text


def test_missing_test_images_are_named_or_left_out(path, caplog):
    images = EvalSet(load_run(path))
    count = len(images.descriptors().candidates.rows)
    Path(images.path(int(images.gallery().rows[0]))).unlink()
    with pytest.raises(RunError, match=r"1 of .* test images .*--data\.root.*--data\.on_error"):
        EvalSet(load_run(path)).extract()
    skipping = EvalSet(load_run(path, fields=["--data.on_error", "skip"]))
    assert len(skipping.extract().candidates.rows) == count - 1
    assert "1 test images are left out" in caplog.text


def test_embeddings_of_an_earlier_version_without_file_stamps_are_read(path):
    images = EvalSet(load_run(path))
    with safe_open(path / "descriptors.safetensors", framework="pt") as file:
        metadata = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys() if "files" not in name}  # noqa: SIM118
    kept["vectors"].zero_()
    save_file(kept, path / "descriptors.safetensors", metadata=metadata)
    assert not images.descriptors().candidates.vectors.any()


def test_classes_added_to_a_run_without_a_recorded_split_are_noticed(path, caplog):
    pictures = path.parent / "pictures"
    if load_run(path).config.data.name != "folder":
        pytest.skip("no class folders")
    (path / "split.json").unlink()
    for name in ("new a", "new b"):
        shutil.copytree(next(pictures.iterdir()), pictures / name)
    assert len(EvalSet(load_run(path)).data.table)
    assert "was trained on 4 classes, but the data set has 5 training" in caplog.text
