"""An index knows its model, and refuses another one."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import ibc_pyg
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.update.report import SyncReport
from tests.helpers.index_pictures import FINISHED_RUN, CountingModel, save_picture, save_pictures


@pytest.fixture
def photos(tmp_path):
    save_pictures(tmp_path / "photos", 20)
    return tmp_path / "photos"


def other_model():
    """The small run with a weight changed."""
    model = ibc_pyg.load(FINISHED_RUN)
    with torch.no_grad():
        next(model.backbone.parameters()).add_(0.01)
    model.source = None
    return model


def test_the_model_is_opened_where_it_was(photos, tmp_path):
    run = shutil.copytree(FINISHED_RUN, tmp_path / "run")
    ibc_pyg.Index.build(run, photos, tmp_path / "index").close()
    query = photos / "apple" / "0003.png"
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        hits = index.search(query, k=3)
        assert hits[0].identical
    run.rename(tmp_path / "moved")
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        assert len(index.search(index.vectors[0], k=3)) == 3, "vectors need no model"
        with pytest.raises(RunError, match=r"model .*run, which is missing; .*--model MODEL"):
            index.search(query)
        assert index.sync() == SyncReport(unchanged=20), "nothing to embed needs no model"
        for file in photos.rglob("*.png"):
            file.touch()
        assert index.sync() == SyncReport(unchanged=20), "known contents need none either"
    with ibc_pyg.Index.open(tmp_path / "index", tmp_path / "moved") as index:
        assert index.search(query, k=3) == hits


def test_a_model_without_a_place_has_to_be_given(photos, tmp_path):
    ibc_pyg.Index.build(other_model(), photos, tmp_path / "index").close()
    with (
        ibc_pyg.Index.open(tmp_path / "index") as index,
        pytest.raises(RunError, match="does not know where its model is; give the model"),
    ):
        index.search(photos / "apple" / "0003.png")


def test_another_model_is_refused_and_both_are_named(photos, tmp_path):
    ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "index").close()
    other = other_model()
    mine = Fingerprint.of(ibc_pyg.load(FINISHED_RUN))
    save_picture(photos / "apple" / "new.png", 99)
    with ibc_pyg.Index.open(tmp_path / "index", other) as index:
        for work in (index.sync, lambda: index.search(photos / "apple" / "new.png")):
            with pytest.raises(RunError) as caught:
                work()
            assert str(mine) in str(caught.value)
            assert str(Fingerprint.of(other)) in str(caught.value)
            assert "--reembed" in str(caught.value)
        assert len(index) == 20


def test_what_the_fingerprint_depends_on():
    model = ibc_pyg.load(FINISHED_RUN)
    first = Fingerprint.of(model)
    assert first.digest == Fingerprint.of(ibc_pyg.load(FINISHED_RUN)).digest
    assert Fingerprint.from_json(first.to_json()) == first
    assert first.digest != Fingerprint.of(other_model()).digest
    for change in ({"mean": (0.2,)}, {"std": (0.1,)}, {"resize": 9}):
        other = Embedder(
            model._model,
            replace(model.transform, **change),
            model.config,
            image_shape=model.image_shape,
        )
        assert Fingerprint.of(other).digest != first.digest
    other = Embedder(model._model, model.transform, model.config, image_shape=(9, 9, 1))
    assert Fingerprint.of(other).digest != first.digest
    augmented = replace(model.transform, rotation=1.0)
    other = Embedder(model._model, augmented, model.config, image_shape=model.image_shape)
    assert Fingerprint.of(other).digest == first.digest
    assert replace(first, versions={"torch": "3"}).digest == first.digest


def test_other_versions_are_a_warning(photos, tmp_path, monkeypatch, caplog):
    ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "index").close()
    monkeypatch.setattr(
        "ibc_pyg.retrieval.fingerprint.package_versions", lambda names: {"torch": "9.9"}
    )
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        assert index.search(photos / "apple" / "0000.png", k=1)[0].identical
    assert "was made with other versions" in caplog.text
    assert "-> 9.9" in caplog.text


def test_embedding_again_with_another_model(photos, tmp_path):
    ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "index").close()
    reader = ibc_pyg.Index.open(tmp_path / "index")
    other = other_model()
    with ibc_pyg.Index.open(tmp_path / "index", other) as index:
        index.remove(photos / "apple" / "0000.png")
        (photos / "pear" / "0001.png").unlink()
        save_picture(photos / "plum" / "0002.png", 77)
        save_picture(photos / "plum" / "new.png", 78)
        report = index.sync(reembed=True)
        assert (report.embedded, report.unchanged, report.added, report.removed) == (19, 17, 2, 1)
        assert index.verify() == []
        assert len(index) == 19
        files = [entry.path for entry in index.catalogue]
        assert np.allclose(index.vectors, other.embed(files), atol=1e-6)
        assert index.fingerprint.digest == Fingerprint.of(other).digest
        assert index.sync(reembed=True) == SyncReport(unchanged=19, removed=1)
        found = index.search(photos / "plum" / "new.png", k=2)
        assert found[0].identical
    with pytest.raises(RunError, match="was embedded again by another model; open it again"):
        reader.search(np.zeros(16, np.float32))
    with ibc_pyg.Index.open(tmp_path / "index", other) as index:
        assert index.search(photos / "plum" / "new.png", k=2) == found


def test_embedding_again_that_fails_leaves_the_index(photos, tmp_path, monkeypatch):
    ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "index").close()
    other, calls = other_model(), []
    forward = other._forward

    def failing(rows, pixels):
        calls.append(rows)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return forward(rows, pixels)

    monkeypatch.setattr(other, "_forward", failing)
    with ibc_pyg.Index.open(tmp_path / "index", other) as index:
        before = index.vectors.tobytes()
        with pytest.raises(KeyboardInterrupt):
            index.sync(reembed=True, batch_size=4)
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        assert index.verify() == []
        assert index.vectors.tobytes() == before
        index.sync()
        assert len(list(index.path.glob("*.f32"))) == 1


def test_an_interrupted_build_goes_on_with_its_own_model_and_pictures_only(
    photos, tmp_path, monkeypatch
):
    model = CountingModel()
    monkeypatch.setattr(ibc_pyg.Index, "pace", ibc_pyg.Index.pace.__class__(1, 0))
    forward, calls = model.embedder._forward, []

    def interrupted(rows, pixels):
        calls.append(rows)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(rows, pixels)

    model.embedder._forward = interrupted
    with pytest.raises(KeyboardInterrupt):
        ibc_pyg.Index.build(model.embedder, photos, tmp_path / "index", batch_size=6)
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        assert not index.complete
        assert len(index) == 12
        assert index.verify() == []
    with pytest.raises(RunError, match="was made by"):
        ibc_pyg.Index.build(other_model(), photos, tmp_path / "index")
    with pytest.raises(RunError, match=r"unfinished index of .*photos; finish it"):
        ibc_pyg.Index.build(model.embedder, photos / "apple", tmp_path / "index")
    model.since()
    with ibc_pyg.Index.build(model.embedder, photos, tmp_path / "index", batch_size=6) as index:
        assert model.since() == 8
        assert index.complete
        assert len(index) == 20


@pytest.mark.parametrize("name", ["resnet51", "nothing", "glyphs"])
def test_a_model_that_is_none(photos, tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name} is neither a run folder nor a network of"):
        ibc_pyg.Index.build(name, photos, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_weights_of_a_run(photos, tmp_path):
    with pytest.raises(ConfigError, match="--weights are those of a pretrained backbone"):
        ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "index", weights=tmp_path / "w.pth")
