"""Image files, decoded and verified."""

import io

import numpy as np
import pytest
from PIL import Image, features

from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.verify import check_file
from tests.helpers.fuzz import fuzz_file

KINDS = {
    "jpg": {"format": "JPEG"},
    "progressive.jpg": {
        "format": "JPEG",
        "progressive": True,
        "exif": b"Exif\0\0MM\0*\0\0\0\x08\0",
    },
    "png": {"format": "PNG"},
    "gif": {"format": "GIF"},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "ppm": {"format": "PPM"},
    "webp": {"format": "WEBP"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_image(tmp_path, kind):
    if kind == "webp" and not features.check("webp"):
        pytest.skip("Pillow was built without WebP")
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / f"x.{kind}"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, **KINDS[kind])
    file.write_bytes(data.getvalue())

    def read(path) -> None:
        checked = check_file(path.name, path)
        assert checked.problem is None or "\n" not in checked.problem
        assert decode_image(path).shape[0] == 3

    fuzz_file(read, file, examples=150)
