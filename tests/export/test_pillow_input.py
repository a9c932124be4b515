"""Preprocessing by numpy and Pillow alone: the pixels of the model, bit for bit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.data.transforms.pixels import fit_shape
from ibc_pyg.export.golden import write_pictures
from ibc_pyg.export.pillow_input import read_pixels, scale

RGB = {"mean": [0.5] * 3, "std": [0.2] * 3}
GREY = {"mean": [0.5], "std": [0.2]}


@pytest.mark.parametrize("sizes", [(97, 61, 40, 77), (50, 50, 51, 49), (33, 64, 33, 20)])
def test_scaling_is_that_of_torch(sizes):
    height, width, new_height, new_width = sizes
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    found = scale(scale(pixels.astype(int), new_width, 1), new_height, 0)
    expected = F.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None],
        (new_height, new_width),
        mode="bilinear",
        antialias=True,
    )[0].permute(1, 2, 0)
    np.testing.assert_array_equal(found, expected.numpy())


def make_pictures(folder):
    files = write_pictures(folder)
    rng = np.random.default_rng(1)
    turned = Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    turned.save(folder / "turned.jpg", exif=exif, quality=90)
    deep = Image.fromarray(rng.integers(0, 65536, (60, 80), np.uint16))
    deep.save(folder / "deep.png")
    Image.fromarray(rng.integers(0, 256, (60, 80), np.uint8)).convert("P").save(folder / "p.gif")
    return [*files, *(folder / name for name in ("turned.jpg", "deep.png", "p.gif"))]


@pytest.mark.parametrize(
    ("args", "shape"),
    [
        ({"image_size": 64, "resize": 72} | RGB, None),
        ({"image_size": 31, "resize": 32} | GREY, None),
        ({"image_size": 28, "resize": 28} | GREY, [28, 28, 1]),
        ({"image_size": 28, "resize": 28} | RGB, [30, 35, 3]),
        ({"image_size": 28, "resize": 28} | RGB, [28, 28, 1]),
    ],
)
def test_pixels_of_files_equal_those_of_the_model(args, shape, tmp_path):
    transform = transform_preset("imagenet", **args)
    spec = {
        "image_shape": shape,
        "channels": transform.channels,
        "resize": transform.resize,
        "image_size": transform.image_size,
    }
    for file in make_pictures(tmp_path):
        picture = decode_image(file)
        if shape:
            picture = fit_shape(picture, *shape)
        expected = transform.fit([picture]).permute(0, 3, 1, 2).numpy()
        np.testing.assert_array_equal(read_pixels(file, spec), expected, err_msg=file.name)
