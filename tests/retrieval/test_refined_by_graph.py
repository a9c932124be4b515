"""The trained refiner and diffusion in an index against the same in memory."""

import hashlib
import shutil

import numpy as np
import pytest
import torch

from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.export.hub import publish
from ibc_pyg.inference.trained import load_run
from ibc_pyg.refinement import Parameters, rerank
from ibc_pyg.refinement.diffusion import diffuse, seeds
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.files import load_refiner, save_refiner
from ibc_pyg.refinement.learned.refiner import Refiner
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.nearest import unit
from ibc_pyg.retrieval.refined import learned, writing
from ibc_pyg.retrieval.refined.record import FOLDER
from ibc_pyg.runs.run_folder import REFINER
from tests.helpers.index_pictures import FINISHED_RUN, save_pictures

SPREAD = Parameters(k=4, power=3, rounds=5, share=0.3)


def random_refiner(channels, weights, folder, **options):
    torch.manual_seed(2)
    refiner = Refiner(channels, RefinerConfig(hidden=4, **{"k": 5} | options), share=0.4)
    with torch.no_grad():
        for parameter in refiner.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    save_refiner(folder, refiner, weights=weights, record={})
    return refiner.eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    save_pictures(folder / "photos", 30)
    shutil.copytree(FINISHED_RUN, folder / "run")
    Index.build(folder / "run", folder / "photos", folder / "index").close()
    return folder


@pytest.fixture
def index(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    with Index.open(tmp_path / "copy" / "index", tmp_path / "copy" / "run") as opened:
        yield opened


@pytest.fixture
def refiner(index):
    return random_refiner(index.dim, index.fingerprint.weights, index.path.parent / "run")


def queries(index, number=5):
    draws = np.random.default_rng(3)
    x = index.vectors[draws.choice(len(index.vectors), number)]
    return (x + 0.05 * draws.normal(size=x.shape)).astype(np.float32)


def by_refiner(refiner, x, g):
    gallery = refiner.gallery(unit(np.array(g)))
    return (refiner.queries(unit(x), gallery) @ gallery.vectors.T).numpy()  # [Q, N]


def by_diffusion(x, g, p):
    x, g = unit(x), unit(g)
    score = (seeds(x, g, p.k, p.power, same=False) @ diffuse(g, p.k, p.power, p.rounds)).toarray()
    score /= score.max(1, keepdims=True)
    return p.share * (x @ g.T).numpy() + (1 - p.share) * score  # [Q, N]


def agrees(lists, scores, k):
    """Hits have the k largest scores; rounding may swap those that are about equal."""
    rows = np.array([[hit.row for hit in hits] for hits in lists])
    similarities = np.array([[hit.similarity for hit in hits] for hits in lists])
    assert all(len(set(each)) == k for each in rows.tolist())
    assert np.allclose(similarities, np.take_along_axis(scores, rows, 1), atol=1e-5)
    assert np.allclose(similarities, -np.sort(-scores, axis=1)[:, :k], atol=1e-5)


@pytest.mark.parametrize("removed", [False, True])
def test_the_refiner_of_the_run_gives_what_it_gives_in_memory(index, refiner, removed, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 1000)  # several chunks
    monkeypatch.setattr(learned, "_AT_A_TIME", 3)
    if removed:
        index.remove(label="plum")
    record = index.refine("refiner")
    assert str(record) == "refiner (k 5, rounds 2, share 0.4)"
    kept = sorted({entry.row for entry in index.catalogue})
    x, scores = queries(index), np.full((5, 30), -2.0)
    scores[:, kept] = by_refiner(refiner, x, np.array(index.vectors)[kept])
    agrees(index.search(x, k=7, refine="refiner"), scores, 7)


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_diffusion_gives_what_it_gives_in_memory(index, removed, share):
    if removed:
        index.remove(label="plum")
    p = Parameters(k=4, power=3, rounds=5, share=share)
    index.refine("diffusion", p)
    kept = sorted({entry.row for entry in index.catalogue})
    x, scores = queries(index), np.full((5, 30), -2.0)
    gallery = np.array(index.vectors)[kept]
    scores[:, kept] = by_diffusion(x, gallery, p)
    hits = index.search(x, k=7, refine="diffusion")
    if share:
        agrees(hits, scores, 7)
    expected = rerank("diffusion", x, gallery, 3, p).numpy()
    assert [[hit.row for hit in each[:3]] for each in hits] == np.array(kept)[expected].tolist()


@pytest.mark.parametrize("method", ["refiner", "diffusion"])
def test_one_query_at_a_time_and_a_filter_give_the_same(index, refiner, method):
    index.refine(method)
    x = queries(index)
    together = index.search(x, k=30, refine=method)
    for query, hits in zip(x, together, strict=True):
        alone = index.search(query, k=30, refine=method)
        assert [hit.row for hit in alone] == [hit.row for hit in hits]
        pears = index.search(query, k=30, where={"label": "pear"}, refine=method)
        assert [hit.row for hit in pears] == [hit.row for hit in hits if hit.label == "pear"]


def test_the_search_needs_no_run_any_more(index, refiner):
    index.refine("refiner")
    x = queries(index)
    before = index.search(x, refine="refiner")
    shutil.rmtree(index.path.parent / "run")
    with Index.open(index.path) as again:
        assert again.search(x, refine="refiner") == before


def test_an_approximate_index_is_refined(index, refiner):
    pytest.importorskip("faiss")
    index.rebuild("ivf", 1.0)
    x, g = queries(index), np.array(index.vectors)
    index.refine("refiner")
    assert list((index.path / FOLDER).glob("ann-*.faiss"))
    agrees(index.search(x, k=3, refine="refiner"), by_refiner(refiner, x, g), 3)
    index.refine("diffusion", SPREAD)
    assert not list((index.path / FOLDER).glob("ann-*"))
    agrees(index.search(x, k=3, refine="diffusion"), by_diffusion(x, g, SPREAD), 3)


def test_what_is_not_there_is_named(index):
    with pytest.raises(RunError, match="train a refiner: python"):
        index.refine("refiner")
    random_refiner(index.dim, "0" * 64, index.path.parent / "run")
    with pytest.raises(RunError, match="was trained for other weights"):
        index.refine("refiner")
    with pytest.raises(ConfigError, match="has its own parameters"):
        index.refine("refiner", SPREAD)
    index.refine()
    with pytest.raises(RunError, match="is refined by dba, not by diffusion"):
        index.search(queries(index), refine="diffusion")
    with Index.open(index.path, index.model()) as again:
        random_refiner(again.dim, again.fingerprint.weights, index.path.parent / "run")
        assert again.refine("refiner").method == "refiner"
    with (
        Index.open(index.path, index.path.parent / "nowhere") as again,
        pytest.raises(RunError, match="give the run or the published folder: --model FOLDER"),
    ):
        again.refine("refiner")


@pytest.mark.parametrize("suffix", [".lists", ".f32", ".safetensors"])
def test_damage_is_named(index, refiner, suffix):
    index.refine("refiner")
    file = next((index.path / FOLDER).glob(f"*{suffix}"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="is damaged; make the refined vectors again"):
        index.search(queries(index), refine="refiner")


@pytest.mark.parametrize(("kind", "error"), [(".lists", "names rows"), (".safetensors", "record")])
def test_files_of_a_foreign_index_never_end_in_a_traceback(index, refiner, kind, error, tmp_path):
    index.refine("refiner")
    file = next((index.path / FOLDER).glob(f"*{kind}"))
    if kind == ".lists":
        content = np.full(len(file.read_bytes()) // 4, 10**6, "<i4").tobytes()
    else:
        random_refiner(index.dim, index.fingerprint.weights, tmp_path, rounds=1)
        content = (tmp_path / REFINER).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    record = index.path / FOLDER / "refined.json"
    text = record.read_text()
    (old,) = [each for each in index.refined[0].sha256 if each[:12] in file.name]
    record.write_text(text.replace(old, digest))
    file.with_name(file.name.replace(old[:12], digest[:12])).write_bytes(content)
    with pytest.raises(RunError, match=error):
        index.search(queries(index), refine="refiner")


def test_one_picture_is_found(index, refiner):
    index.remove(label=["plum", "pear"])
    rows = sorted({entry.row for entry in index.catalogue})
    index.remove(row=rows[1:])
    for method in ("refiner", "diffusion"):
        index.refine(method)
        assert [hit.row for hit in index.search(queries(index)[0], refine=method)] == [rows[0]]


def test_the_file_in_the_index_is_that_of_the_run(index, refiner):
    index.refine("refiner")
    (file,) = (index.path / FOLDER).glob("*.safetensors")
    assert file.read_bytes() == (index.path.parent / "run" / REFINER).read_bytes()
    assert load_refiner(file).config == refiner.config


def test_a_published_folder_has_the_refiner_too(index, refiner, tmp_path):
    run, folder = index.path.parent / "run", tmp_path / "published"
    publish(load_run(run), folder, forms=())
    with Index.build(folder, index.path.parent / "photos", tmp_path / "new") as again:
        x = queries(again)
        again.refine("refiner")
        agrees(again.search(x, k=7, refine="refiner"), by_refiner(refiner, x, again.vectors), 7)
    random_refiner(index.dim, "0" * 64, run)
    with pytest.raises(RunError, match="was trained for other weights"):
        publish(load_run(run), tmp_path / "refused", forms=())
    assert not (tmp_path / "refused").exists()
