"""JPEG files decoded on the device of the batches, against those decoded by workers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ibc_pyg.data.images import decode
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.images.encoded import EncodedCrops, EncodedImage, decode_on, read_encoded
from ibc_pyg.data.loading.loader import Loading, train_loader
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.errors import DatasetError
from tests.helpers.pictures import RGB, encoded, exif

CPU = torch.device("cpu")


def jpeg(**options):
    return encoded(Image.fromarray(RGB), "JPEG", **options)


FILES = {
    "plain.jpg": (jpeg(), True),
    "progressive.jpg": (jpeg(progressive=True), True),
    "grey.jpg": (encoded(Image.fromarray(RGB).convert("L"), "JPEG"), True),
    "named_as_png.png": (jpeg(), True),
    "turned.jpg": (jpeg(exif=exif(6)), False),
    "cmyk.jpg": (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), False),
    "other.png": (encoded(Image.fromarray(RGB), "PNG"), False),
}


@pytest.mark.parametrize("name", FILES)
def test_whole_upright_jpegs_are_left_to_the_device(tmp_path, name):
    data, later = FILES[name]
    (tmp_path / name).write_bytes(data)
    found = read_encoded(tmp_path / name)
    expected = decode_image(tmp_path / name)
    assert isinstance(found, EncodedImage) == later
    assert found.shape == expected.shape
    pixels = decode_on(CPU, [(found.path, found.data)])[0] if later else found
    assert torch.equal(pixels, expected)


@pytest.mark.parametrize("change", ["empty", "truncated", "too_long"])
def test_files_that_are_refused_are_refused_when_they_are_read(tmp_path, change):
    long = encoded(Image.new("L", (8 * 65, 8)), "JPEG")
    data = {"empty": b"", "truncated": jpeg()[:-40], "too_long": long}[change]
    (tmp_path / "a.jpg").write_bytes(data)
    messages = []
    for read in (read_encoded, decode_image):
        with pytest.raises(DatasetError, match=r"a\.jpg: ") as caught:
            read(tmp_path / "a.jpg")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_what_the_device_cannot_decode_the_cpu_decodes(monkeypatch, tmp_path):
    def refuse(buffers, device):
        raise RuntimeError("nvjpegDecode failed: 5")

    monkeypatch.setattr(decode, "decode_jpegs", refuse)
    good = torch.frombuffer(bytearray(jpeg()), dtype=torch.uint8)
    (tmp_path / "good.jpg").write_bytes(jpeg())
    assert torch.equal(decode_on(CPU, [("a", good)])[0], decode_image(tmp_path / "good.jpg"))
    bad = good.clone()
    bad[20:-2] = 0
    with pytest.raises(DatasetError, match=r"^bad\.jpg: "):
        decode_on(CPU, [("good.jpg", good), ("bad.jpg", bad)])


def test_parts_of_a_batch_are_joined():
    files = [
        EncodedImage(str(i), torch.full((i,), i, dtype=torch.uint8), (3, 9, 9)) for i in (1, 2)
    ]
    boxes = np.arange(12).reshape(3, 4)
    first = EncodedCrops.of([files[0], torch.zeros(3, 1, 1), files[1]], boxes, 0)
    second = EncodedCrops.of([files[1]], boxes[:1], 3)
    assert EncodedCrops.of([torch.zeros(3, 1, 1)], boxes[:1], 0) is None
    joined = EncodedCrops.joined([first, second])
    assert joined.places == [0, 2, 3]
    assert joined.data.tolist() == [1, 2, 2, 2, 2]
    assert joined.lengths == [1, 2, 2]
    assert joined.boxes.tolist() == boxes[[0, 2, 0]].tolist()


@pytest.fixture
def table(tmp_path):
    """Two classes of files of all kinds and of different sizes."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(16):
        name, (data, _) = list(FILES.items())[number % len(FILES)]
        if number >= len(FILES):
            noise = rng.integers(0, 256, (20 + 3 * number, 50, 3), np.uint8)
            data = encoded(Image.fromarray(noise), "JPEG" if number % 3 else "PNG")
        paths.append(f"{number}_{name}")
        (tmp_path / paths[-1]).write_bytes(data)
    labels = np.arange(16) // 8
    roles = np.full(16, Role.TRAIN.value, np.uint8)
    return ImageTable("kinds", tuple(paths), labels, roles, ("a", "b"), root=tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("grey", [False, True])
def test_batches_are_those_of_decoding_workers(table, workers, grey, monkeypatch):
    if not workers:  # batches in several parts
        monkeypatch.setattr("ibc_pyg.data.loading.dataset.MAX_HELD", 9_000)
    batches = []
    for later in (False, True):
        transform = transform_preset(
            "imagenet", image_size=24, resize=28, scale_on_device=True, decode_on_device=later
        )
        if grey:
            transform = replace(transform, mean=(0.5,), std=(0.5,))
        sampler = make_sampler("distinct", table.labels, SamplerSettings(2, 4, seed=0))
        loader = train_loader(table, sampler, transform, Loading(workers=workers), seed=0)
        batches.append(list(loader))
    assert len(batches[0]) == len(batches[1]) == 2
    for expected, found in zip(*batches, strict=True):
        assert torch.equal(expected.rows, found.rows)
        assert torch.equal(expected.images, found.images)
