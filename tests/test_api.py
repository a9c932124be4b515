"""The front door: train, load, embed and evaluate from Python."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ibc_pyg
from ibc_pyg.data.sample import make_sample
from ibc_pyg.errors import ConfigError, DatasetError, RunError
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "experiments" / "sample.yaml"
KMEANS = {"NMI", "AMI", "ARI", "kmeans_swaps", "kmeans_iterations", "kmeans_inertia",
          "kmeans_passes", "kmeans_on_gpu"}  # fmt: skip
"""Figures of k-means, which had fewer rounds and iterations at version 0.1.0."""
OLD = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on a folder of pictures, the pictures, and what `train` returned."""
    folder = tmp_path_factory.mktemp("api")
    make_sample("folder", folder / "pictures")
    fields = {
        "data.root": folder / "pictures",
        "data.workers": 0,
        "train.epochs": 2,
        "train.lr_milestones": [1],
        "track.report": False,
    }
    return ibc_pyg.train(SAMPLE, fields, out=folder / "run"), folder / "pictures"


@pytest.fixture(scope="module")
def model(made):
    return ibc_pyg.load(made[0].path)


@pytest.fixture(scope="module")
def files(made):
    return sorted(made[1].rglob("*.jpg"))[:7]


def test_importing_needs_no_torch():
    code = (
        "import sys, ibc_pyg; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; "
        "assert {'load', 'train', 'evaluate', 'nn'} <= set(dir(ibc_pyg))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_index_needs_no_scikit_learn():
    code = "import sys, ibc_pyg; ibc_pyg.Index; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_public_name_is_there():
    for name in ibc_pyg.__all__:
        assert getattr(ibc_pyg, name) is not None
    assert ibc_pyg.nn.IntraBatchConv
    assert ibc_pyg.nn.MPN
    assert callable(ibc_pyg.train)  # not a module of the package
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = ibc_pyg.lod


def test_train_returns_the_folder_and_the_metrics(made):
    run, _ = made
    assert run.metrics == json.loads((run.path / "summary.json").read_text())
    assert 0 <= run.metrics["R@1"] <= 1
    assert "epochs: 2" in (run.path / "config.yaml").read_text()


def test_evaluate_gives_the_metrics_of_the_training(made):
    scores = ibc_pyg.evaluate(made[0].path)
    for name in ("R@1", "MAP@R", "RP", "NMI"):
        assert scores[name] == made[0].metrics[name]
    refined = ibc_pyg.evaluate(made[0].path, refine="mpn", refine_size=4, rerank=True, ks=[1, 3])
    assert {"R@1", "R@3"} == {name for name in refined if name.startswith("R@")}
    assert {"refined", "reranked"} <= refined.keys()


def test_train_refuses_what_the_command_refuses(made, tmp_path):
    run, pictures = made
    with pytest.raises(ConfigError, match="no_such"):
        ibc_pyg.train(SAMPLE, {"train.no_such": 1}, out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train\.lr"):
        ibc_pyg.train(SAMPLE, {"train.lr": {1, 2}}, out=tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        ibc_pyg.train(SAMPLE, {"data.root": pictures}, out=run.path)
    with pytest.raises(ConfigError, match="empty"):
        ibc_pyg.train([], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_model_tells_what_it_is(model, made):
    assert model.dim == 64
    assert model.device == torch.device("cpu")
    assert model.to("cpu") is model
    assert model.config.train.epochs == 2
    names = sorted(each.name for each in made[1].iterdir())
    assert len(model.class_names) == 4
    assert set(model.class_names) < set(names)
    assert "conv4" in repr(model)


def test_embeddings_are_those_of_the_evaluation(model, made):
    images = EvalSet(load_run(made[0].path))
    extracted = images.extract()
    paths = [images.path(row) for row in extracted.queries.rows]
    z = model.embed(paths, batch_size=model.config.evaluate.batch_size)
    assert z.dtype == np.float32
    assert z.shape == (len(paths), model.dim)
    assert np.array_equal(z, extracted.queries.vectors.numpy())
    assert np.array_equal(z.rows, np.arange(len(paths)))
    assert np.allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)


def pictures_of_every_kind():
    """Name to a picture that must be decoded with care."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    alpha = np.dstack([pixels, rng.integers(0, 256, (40, 50), dtype=np.uint8)])
    deep = rng.integers(0, 2**16, (40, 50), dtype=np.uint16)
    return {
        "rgb": (Image.fromarray(pixels), pixels),
        "grey": (Image.fromarray(pixels[..., 0]), pixels[..., :1]),
        "alpha": (Image.fromarray(alpha), alpha),
        "16 bits": (Image.fromarray(deep), deep),
        "palette": (Image.fromarray(pixels).quantize(16), None),
    }


@pytest.mark.parametrize("kind", pictures_of_every_kind())
def test_every_form_of_a_picture_gives_the_same_embedding(model, tmp_path, kind):
    image, array = pictures_of_every_kind()[kind]
    path = tmp_path / "picture.png"
    image.save(path)
    want = model.embed([path])
    forms = [path.read_bytes(), Image.open(path), str(path)]
    for form in forms if array is None else [*forms, array]:
        assert np.array_equal(model.embed([form]), want), type(form)
    assert np.array_equal(model.embed(path), want)


def test_exif_turns_a_picture_upright(model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(pixels, k=-1)
    for form in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        assert np.array_equal(model.embed([form]), model.embed([upright]))


def test_a_folder_and_iterables(model, made, files):
    whole = model.embed(made[1])
    everything = sorted(made[1].rglob("*.jpg"))
    assert np.array_equal(whole, model.embed(everything))
    assert np.array_equal(model.embed(path for path in files), model.embed(files))
    batch = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in files])
    assert model.embed(batch).shape == (len(files), model.dim)


def test_out_streams_to_a_file(model, files, tmp_path):
    out = tmp_path / "z.npy"
    z = model.embed(iter(files), batch_size=2, out=out)
    assert not z.flags.owndata  # a view of the file
    assert np.array_equal(z, model.embed(files, batch_size=2))
    loaded = np.load(out)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, z)
    assert np.array_equal(z.rows, np.arange(len(files)))
    assert [each.name for each in tmp_path.iterdir()] == ["z.npy"]
    with pytest.raises(RunError, match=r"z\.npy"):
        model.embed(files, out=tmp_path / "no folder" / "z.npy")
    with pytest.raises(RunError, match="folder"):
        model.embed(files, out=tmp_path)


def test_a_failure_leaves_the_old_file_and_no_draft(model, files, tmp_path):
    out, broken = tmp_path / "z.npy", tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    np.save(out, np.zeros(3))
    with pytest.raises(DatasetError):
        model.embed([*files, broken], batch_size=2, out=out)
    assert np.array_equal(np.load(out), np.zeros(3))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.jpg", "z.npy"]


@pytest.mark.parametrize("streamed", [False, True])
def test_unreadable_pictures_stop_or_are_skipped(model, files, tmp_path, streamed):
    bad = {1: tmp_path / "empty.jpg", 3: tmp_path / "text.png", 4: tmp_path / "missing.png"}
    bad[1].write_bytes(b"")
    bad[3].write_text("not a picture")
    mixed = list(files)
    for row, path in bad.items():
        mixed.insert(row, path)
    with pytest.raises(DatasetError, match=r"empty\.jpg.*on_error") as caught:
        model.embed(mixed)
    assert "\n" not in str(caught.value)
    z = model.embed(mixed, on_error="skip", out=tmp_path / "z.npy" if streamed else None)
    assert model.skipped.keys() == bad.keys()
    for row, path in bad.items():
        assert path.name in model.skipped[row]
    assert z.rows.tolist() == [row for row in range(len(mixed)) if row not in bad]
    # Batches of another composition round differently.
    assert np.allclose(z, model.embed(files), atol=1e-6)
    assert model.skipped == {}
    nothing = model.embed([bad[1]], on_error="skip", out=tmp_path / "z.npy" if streamed else None)
    assert nothing.shape == (0, model.dim)


def test_rows_do_not_follow_slices(model, files):
    z = model.embed(files)
    assert z[2:].rows is None
    assert z.copy().rows is None


@pytest.mark.parametrize(
    ("images", "error", "says"),
    [
        ([], ValueError, "images is empty"),
        (iter(()), ValueError, "images is empty"),
        (None, ValueError, "images must be"),
        (7, ValueError, "images must be"),
        ([None], TypeError, r"images\[0\]"),
        ([np.zeros((4, 4, 3), np.float32)], ValueError, r"images\[0\]: the dtype"),
        ([np.full((4, 4), np.nan)], ValueError, r"images\[0\]: the array holds NaN"),
        ([np.zeros((4, 4, 2), np.uint8)], ValueError, r"images\[0\]: an array must be"),
        ([np.zeros((0, 4), np.uint8)], ValueError, r"images\[0\]: the array is empty"),
        (np.zeros((4, 4, 3), np.uint8), ValueError, "images: an array must be a batch"),
        ([np.zeros((4, 4), np.int64)], ValueError, r"images\[0\]: the dtype"),
    ],
)
def test_wrong_pictures_name_the_argument(model, images, error, says):
    for on_error in ("stop", "skip"):
        with pytest.raises(error, match=says):
            model.embed(images, on_error=on_error)


def test_wrong_options_name_the_argument(model, files, tmp_path):
    for wrong in (0, -1, 2.5, True, None):
        with pytest.raises(ValueError, match="batch_size"):
            model.embed(files, batch_size=wrong)
    with pytest.raises(ValueError, match="on_error"):
        model.embed(files, on_error="ignore")
    with pytest.raises(ValueError, match=r"images is empty: the folder .* holds no image files"):
        model.embed(tmp_path)


def test_progress_goes_to_standard_error(model, files, capsys):
    model.embed(files, batch_size=2, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "embed" in printed.err
    model.embed(files)
    assert capsys.readouterr().err == ""


def test_metrics_take_what_embed_returns(model, made):
    everything = sorted(made[1].rglob("*.jpg"))
    z = model.embed(everything)
    labels = [path.parent.name for path in everything]
    assert 0 <= ibc_pyg.retrieval_metrics(z, labels)["R@1"] <= 1
    assert 0 <= ibc_pyg.clustering_metrics(z, labels)["NMI"] <= 1


def test_load_refuses_what_is_not_a_run(made, tmp_path):
    with pytest.raises(RunError, match="not a folder"):
        ibc_pyg.load(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"config\.yaml"):
        ibc_pyg.load(tmp_path)
    run = shutil.copytree(made[0].path, tmp_path / "run")
    made_by = json.loads((run / "environment.json").read_text())
    made_by["packages"]["ibc-pyg"] = "99.0"
    (run / "environment.json").write_text(json.dumps(made_by))
    with pytest.raises(RunError, match=r"created by ibc_pyg 99\.0") as caught:
        ibc_pyg.load(run)
    assert "\n" not in str(caught.value)
    (run / "environment.json").unlink()
    (run / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors"):
        ibc_pyg.load(run)


def test_a_model_of_a_set_in_memory_resizes_pictures(tmp_path):
    """The fixture was trained on grey drawings of 8 x 8 pixels."""
    model = ibc_pyg.load(OLD / "finished_run")
    drawing = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    want = model.embed([drawing])
    Image.fromarray(drawing).convert("RGB").save(tmp_path / "drawing.png")
    assert np.array_equal(model.embed([tmp_path / "drawing.png"]), want)
    assert model.embed([np.kron(drawing, np.ones((4, 4), np.uint8))]).shape == (1, model.dim)
    assert model.class_names is None


def test_a_run_of_version_0_1_0_gives_its_figures():
    scores = ibc_pyg.evaluate(OLD / "finished_run")
    before = json.loads((OLD / "finished_run" / "summary.json").read_text())
    for name in scores.keys() - KMEANS:
        assert scores[name] == pytest.approx(before[name], abs=1e-12), name
    assert scores["kmeans_inertia"] <= before["kmeans_inertia"]


def test_a_run_interrupted_by_version_0_1_0_is_resumed(tmp_path):
    path = shutil.copytree(OLD / "interrupted_run", tmp_path / "run")
    resume = [sys.executable, "run.py", "train", "--resume", str(path)]
    subprocess.run(resume, check=True, cwd=ROOT, capture_output=True)
    before = json.loads((OLD / "finished_run" / "summary.json").read_text())
    after = json.loads((path / "summary.json").read_text())
    before.pop("train_seconds")
    after.pop("train_seconds")
    after.pop("cost")
    after.pop("kmeans_passes")
    after.pop("kmeans_on_gpu")
    # Another processor rounds differently in every step.
    numbers = {name for name, value in before.items() if isinstance(value, float)}
    assert {n: v for n, v in after.items() if n not in numbers} == {
        n: v for n, v in before.items() if n not in numbers
    }
    for name in numbers - KMEANS:
        assert after[name] == pytest.approx(before[name], rel=0.05, abs=0.02), name
    assert (path / "split.json").is_file()


def test_wrong_value_of_an_array_is_not_an_image_file():
    with pytest.raises(DatasetError, match=r"images\[0\]"):
        ibc_pyg.load(OLD / "finished_run").embed([io.BytesIO(b"x").getvalue()])
