"""Duplicates: planted copies, chains, order of files, leaks between indexes, hostile names."""

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ibc_pyg.cli import run
from ibc_pyg.collections.duplicates.alignment import compare
from ibc_pyg.collections.duplicates.best import best_copy
from ibc_pyg.collections.duplicates.candidates import by_hash, unique_pairs
from ibc_pyg.collections.duplicates.find import find_duplicates
from ibc_pyg.collections.duplicates.groups import complete_groups
from ibc_pyg.collections.duplicates.leaks import find_leaks
from ibc_pyg.collections.duplicates.result import Settings
from ibc_pyg.collections.duplicates.small import SmallPictures, perceptual_hash, small_picture
from ibc_pyg.data.registry import load_table
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.retrieval.index import Index
from tests.helpers.index_pictures import FINISHED_RUN
from tests.helpers.vector_index import clustered, make_vector_index


def scene(seed, side=96):
    """Coloured blobs, as smooth and as varied as a photograph."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return Image.blend(picture, fine.filter(ImageFilter.GaussianBlur(2)), 0.4)


COPIES = {
    "jpeg": lambda p: jpeg(p, 40),
    "half": lambda p: p.resize((48, 48), Image.Resampling.BILINEAR),
    "double": lambda p: p.resize((192, 192), Image.Resampling.BICUBIC),
    "cut": lambda p: p.crop((3, 1, 94, 93)),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda p: p.convert("L"),
}


def jpeg(picture, quality):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures")
    for number in range(12):
        scene(number).save(place / f"{number:02}.png")
    for number, (name, edit) in enumerate(COPIES.items()):
        edit(scene(number)).save(place / f"{name}.png")
    (place / "same.png").write_bytes((place / "11.png").read_bytes())
    Image.new("RGB", (40, 40), "white").save(place / "white.png")
    Image.new("RGB", (50, 40), "white").save(place / "paper.png")
    return place


@pytest.fixture(scope="module")
def index(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("index") / "a"
    with Index.build(FINISHED_RUN, folder, place) as index:
        yield index


def names(groups):
    return sorted(sorted(path.rsplit("/", 1)[1] for path in group.paths) for group in groups)


def test_every_planted_copy_is_found_and_nothing_else(index):
    found = find_duplicates(index)
    expected = [[f"{i:02}.png", f"{name}.png"] for i, name in enumerate(COPIES)]
    assert names(found.groups) == sorted([*expected, ["11.png", "same.png"]])
    assert [group.exact for group in found.groups].count(True) == 1


def test_without_mirrored_pictures(index):
    found = find_duplicates(index, settings=Settings(mirrored=False))
    assert ["04.png", "mirrored.png"] not in names(found.groups)
    assert len(found.groups) == len(COPIES)


def test_order_of_files_does_not_matter(folder, tmp_path):
    groups = []
    for order in (1, -1):
        with _in_order(folder, tmp_path / f"{order}", order) as index:
            groups.append(names(find_duplicates(index).groups))
    assert groups[0] == groups[1]


def _in_order(folder, place, order):
    files = sorted(folder.iterdir())[::order]
    lines = "".join(f"{file},a\n" for file in files)
    table = place.with_suffix(".csv")
    table.write_text("path,label\n" + lines)
    return Index.build(FINISHED_RUN, table, place)


def test_leaks_between_two_indexes(index, tmp_path):
    place = tmp_path / "other"
    place.mkdir()
    jpeg(scene(7), 50).save(place / "leak.jpg")
    scene(40).save(place / "new.png")
    scene(41).save(place / "twin1.png")
    jpeg(scene(41), 60).save(place / "twin2.jpg")
    with Index.build(FINISHED_RUN, place, tmp_path / "b") as other:
        assert names(find_duplicates(other, index).groups) == [["07.png", "leak.jpg"]]
        assert names(find_duplicates(index, other).groups) == [["07.png", "leak.jpg"]]
    foreign = make_vector_index(tmp_path / "c", clustered(5, 4)[0])
    with foreign, pytest.raises(RunError, match="build one of them again"):
        find_duplicates(index, foreign)


def test_no_group_has_a_pair_that_does_not_pass():
    # A-B-C: B is like A and C, which are not alike.
    values = {0: 0.0, 1: 0.9, 2: 1.8, 3: 10.0, 4: 10.5, 5: 10.9}
    pairs = np.array(
        [(i, j) for i, j in itertools.combinations(values, 2) if abs(values[i] - values[j]) <= 1]
    )
    similarity = np.array([1 - abs(values[i] - values[j]) / 10 for i, j in pairs], np.float32)
    asked = []

    def verdict(new):
        asked.extend(map(tuple, new.tolist()))
        return np.array([abs(values[i] - values[j]) <= 1 for i, j in new])

    groups = complete_groups(pairs, similarity, verdict)
    assert groups == [[0, 1], [3, 4, 5]]
    assert (0, 2) in asked


def test_groups_agree_with_brute_force_on_random_graphs():
    rng = np.random.default_rng(0)
    for _ in range(30):
        passes = rng.random((9, 9)) < 0.5
        passes |= passes.T
        every = np.array(list(itertools.combinations(range(9), 2)))
        candidates = every[[passes[i, j] and rng.random() < 0.8 for i, j in every]]
        if not len(candidates):
            continue
        groups = complete_groups(
            candidates,
            rng.random(len(candidates)).astype(np.float32),
            lambda new, passes=passes: passes[new[:, 0], new[:, 1]],
        )
        members = [place for group in groups for place in group]
        assert len(members) == len(set(members))
        assert all(passes[i, j] for g in groups for i, j in itertools.combinations(g, 2))
        # No two groups could be joined.
        for a, b in itertools.combinations(groups, 2):
            if any([min(i, j), max(i, j)] in candidates.tolist() for i in a for j in b):
                assert not all(passes[i, j] for i in a for j in b)


def test_alignment_takes_back_a_cut_and_sees_a_moved_camera():
    wide = scene(3, 200)
    full = small_picture(np.asarray(wide.crop((20, 20, 180, 180))))
    part = small_picture(np.asarray(wide.crop((24, 21, 179, 177))))
    moved = small_picture(np.asarray(wide.crop((28, 22, 188, 182))))
    cut, away = (compare(full[None], other[None]) for other in (part, moved))
    assert cut.similarity[0] > 0.97
    assert cut.nested[0]
    assert away.similarity[0] > 0.95
    assert not away.nested[0]


def test_comparison_does_not_depend_on_the_batch():
    small = np.stack([small_picture(np.asarray(scene(i))) for i in range(20)])
    whole = compare(small, small[::-1])
    for i in range(20):
        alone = compare(small[i : i + 1], small[19 - i : 20 - i])
        assert abs(alone.similarity[0] - whole.similarity[i]) < 1e-5


def test_perceptual_hash_has_the_bits_of_imagehash():
    # imagehash.phash(hash_size=8) of the same 32 x 32 pixels: signs around the median of the block.
    from scipy.fft import dct

    small = small_picture(np.asarray(scene(5)))
    pixels = small.reshape(32, 2, 32, 2).mean((1, 3))
    block = dct(dct(pixels, axis=0), axis=1)[:8, :8]
    own = np.array(list(f"{perceptual_hash(small):064b}"), int).reshape(8, 8)
    assert (own != (block > np.median(block))).sum() <= 1


def test_pairs_of_equal_hashes_are_candidates():
    pictures = [np.asarray(scene(i)) for i in (0, 1, 2, 0)]
    with SmallPictures.read(pictures, 4) as small:
        assert unique_pairs(by_hash(small, mirrored=True)).tolist() == [[0, 3]]


def test_the_best_copy_is_large_sharp_and_coloured(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(0.5))
    files = {
        "small.png": picture.resize((100, 100)),
        "enlarged.png": picture.resize((100, 100)).resize((400, 400), Image.Resampling.BICUBIC),
        "grey.png": picture.convert("L"),
        "good.png": picture,
    }
    for name, each in files.items():
        each.save(tmp_path / name)
    best, qualities = best_copy([str(tmp_path / name) for name in files])
    assert best.endswith("good.png")
    detail = {name: qualities[str(tmp_path / name)].detail for name in files}
    assert detail["enlarged.png"] < detail["good.png"] == detail["grey.png"]


def test_threshold_is_checked():
    with pytest.raises(ConfigError, match="threshold"):
        Settings(threshold=1.5)


def test_command_writes_page_and_json(index, tmp_path, capsys):
    page, found = tmp_path / "d.html", tmp_path / "d.json"
    assert (
        run(["index", "duplicates", str(index.path), "--html", str(page), "--json", str(found)])
        == 0
    )
    out = capsys.readouterr().out
    assert "7 groups of 14 files" in out
    assert f"written: {found}\nwritten: {page}" in out
    groups = json.loads(found.read_text())["groups"]
    assert len(groups) == 7
    assert all(len(group) == 2 for group in groups)
    text = page.read_text()
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert text.count("keep</span>") == 7


def test_page_of_an_index_without_duplicates(tmp_path, capsys):
    place = tmp_path / "p"
    place.mkdir()
    for number in range(3):
        scene(number).save(place / f"<img onerror=alert({number})>.png")
    Index.build(FINISHED_RUN, place, tmp_path / "i").close()
    page = tmp_path / "d.html"
    assert run(["index", "duplicates", str(tmp_path / "i"), "--html", str(page)]) == 0
    text = page.read_text()
    assert "No duplicates." in text
    assert "<img onerror" not in text
    assert "0 groups" in capsys.readouterr().out


def test_leaks_of_a_data_set(tmp_path, capsys):
    rows = ["path,label,split"]
    for number in range(8):
        scene(number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number // 2},{'train' if number < 4 else 'test'}")
    scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "x.png")
    rows.append("x.png,3,test")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    found = find_leaks(load_table("csv", tmp_path / "list.csv"))
    assert names(found.groups) == [["1.png", "x.png"]]
    assert run(["data", "verify", "csv", "--root", str(tmp_path / "list.csv"), "--leaks"]) == 1
    assert "x.png" in capsys.readouterr().out
