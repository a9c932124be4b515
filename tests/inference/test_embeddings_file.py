"""Files of embeddings: round trip, and one-line errors for damaged files."""

import io
import zipfile

import numpy as np
import pytest
import torch

from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import RunError
from ibc_pyg.inference.embeddings_file import read_embeddings, save_embeddings
from ibc_pyg.inference.extract import Descriptors, EvalDescriptors

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


def table():
    paths = tuple(f"ä {row}/\u65e5.png" for row in range(10))
    return ImageTable("t", paths, np.arange(10) % 3, np.full(10, Role.TEST, np.uint8), tuple("abc"))


def descriptors(rows):
    rows = np.array(rows)
    labels = torch.from_numpy(table().labels[rows])
    return Descriptors(rows, torch.from_numpy(X)[: len(rows)], labels)


@pytest.mark.parametrize("gallery", [None, [9, 3, 0, 1]])
def test_round_trip(tmp_path, gallery):
    file = tmp_path / "e.npz"
    part = None if gallery is None else descriptors(gallery)
    save_embeddings(file, EvalDescriptors(descriptors([5, 2, 7]), part), table())
    with np.load(file, allow_pickle=False) as saved:
        types = {name: saved[name].dtype for name in saved}
        assert types["embeddings"] == np.float32
        assert types["labels"] == np.int64
        assert saved["paths"].tolist() == [table().paths[row] for row in (5, 2, 7)]
        wanted = {"embeddings", "labels", "paths"}
        if gallery is not None:
            wanted |= {"gallery", "gallery_labels", "gallery_paths"}
            assert types["gallery_labels"] == np.int64
            assert saved["gallery_paths"].tolist() == [table().paths[row] for row in gallery]
        assert set(types) == wanted
    found = read_embeddings(file)
    assert torch.equal(found.queries.vectors, torch.from_numpy(X)[:3])
    # Classes are numbered from 0: those of rows 5, 2, 7 are 2, 2, 1.
    assert found.queries.labels.tolist() == ([1, 1, 0] if gallery is None else [2, 2, 1])
    if gallery is None:
        assert found.gallery is None
    else:
        assert found.gallery.labels.tolist() == [0, 0, 0, 1]


def test_labels_may_be_words_and_embeddings_of_any_real_type(tmp_path):
    file = tmp_path / "e.npz"
    np.savez_compressed(
        file,
        embeddings=(100 * X).astype(np.int16),
        labels=np.array(["x", "y", "x", "y", "x", "z"]),
        gallery=X.astype(np.float16),
        gallery_labels=np.array(["z", "y", "w", "y", "y", "z"]),
        unread=np.array([{}], dtype=object),
    )
    found = read_embeddings(file)
    names = np.array(["w", "x", "y", "z"])
    assert names[found.queries.labels].tolist() == ["x", "y", "x", "y", "x", "z"]
    assert names[found.gallery.labels].tolist() == ["z", "y", "w", "y", "y", "z"]


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def npy(array, **arguments):
    content = io.BytesIO()
    np.save(content, array, **arguments)
    return content.getvalue()


def archive(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("_npy", ".npy"), data)
    return content.getvalue()


def with_nan():
    x = X.copy()
    x[4, 1] = np.nan
    return x


HUGE = npy(np.zeros(2)).replace(b"(2,), }         ", b"(10000000000000,) }")[:128]

BAD = {
    "nothing": (b"", "cannot be read"),
    "text": (b"embeddings\n1,2,3\n", "cannot be read"),
    "an npy": (npy(X), "not a zip file"),
    "a pickle": (npy(np.array([{}]), allow_pickle=True), "cannot be read"),
    "cut short": (npz(embeddings=X, labels=Y)[:200], "cannot be read"),
    "cut in the array": (
        archive(embeddings_npy=npy(X)[:-5], labels_npy=npy(Y)),
        "'embeddings'",
    ),
    "no array": (archive(embeddings_npy=b"hello", labels_npy=npy(Y)), "embeddings"),
    "a wrong header": (archive(embeddings_npy=HUGE, labels_npy=npy(Y)), "'embeddings'"),
    "empty archive": (archive(), "embeddings"),
    "no labels": (npz(embeddings=X), "no array 'labels'"),
    "no embeddings": (npz(labels=Y), "no array 'embeddings'"),
    "half a gallery": (npz(embeddings=X, labels=Y, gallery=X), "go together"),
    "objects": (npz(embeddings=X, labels=np.array([{}] * 6)), "'labels'"),
    "objects in embeddings": (npz(embeddings=np.array([[None]]), labels=Y), "'embeddings'"),
    "NaN": (npz(embeddings=with_nan(), labels=Y), "row 4"),
    "infinity": (npz(embeddings=np.full((6, 2), np.inf), labels=Y), "infinite"),
    "lengths": (npz(embeddings=X, labels=Y[:5]), "labels has 5 entries"),
    "gallery lengths": (
        npz(embeddings=X, labels=Y, gallery=X, gallery_labels=Y[:5]),
        "gallery_labels has 5 entries",
    ),
    "no rows": (npz(embeddings=X[:0], labels=Y[:0]), "empty"),
    "no columns": (npz(embeddings=X[:, :0], labels=Y), "empty"),
    "empty gallery": (
        npz(embeddings=X, labels=Y, gallery=X[:0], gallery_labels=Y[:0]),
        "gallery is empty",
    ),
    "one dimension": (npz(embeddings=X[0], labels=Y[:3]), "expected [N, D]"),
    "a table of labels": (npz(embeddings=X, labels=Y[:, None]), "labels has shape"),
    "broken labels": (npz(embeddings=X, labels=Y + 0.5), "labels has dtype"),
    "complex": (npz(embeddings=X.astype(complex), labels=Y), "complex"),
    "words": (npz(embeddings=X.astype(str), labels=Y), "embeddings has dtype"),
    "dimensions": (
        npz(embeddings=X, labels=Y, gallery=X[:, :2], gallery_labels=Y),
        "gallery has 2 dimensions",
    ),
    "words against numbers": (
        npz(embeddings=X, labels=Y, gallery=X, gallery_labels=Y.astype(str)),
        "integers or strings for both",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_file_is_a_one_line_error(tmp_path, name):
    content, expected = BAD[name]
    file = tmp_path / "bad.npz"
    file.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_embeddings(file)
    message = str(caught.value)
    assert "\n" not in message
    assert "bad.npz" in message
    assert expected in message


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(RunError, match="is not a file"):
        read_embeddings(tmp_path / "none.npz")
    with pytest.raises(RunError, match="is not a file"):
        read_embeddings(tmp_path)
    with pytest.raises(RunError, match="cannot be written"):
        save_embeddings(
            tmp_path / "no" / "e.npz", EvalDescriptors(descriptors([1, 2]), None), table()
        )


def test_random_damage_is_a_one_line_error(tmp_path):
    """A file with changed bytes is read or refused."""
    rng = np.random.default_rng(0)
    whole = npz(embeddings=X, labels=Y)
    file = tmp_path / "e.npz"
    refused = []
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=3):
            content[place] = rng.integers(256)
        file.write_bytes(content)
        try:
            read_embeddings(file)
        except RunError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in line for line in refused)
