"""Kinds of images: one test for each row of the table in docs/data.md."""

import io
import struct
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from torch import from_numpy

from ibc_pyg.data.images.decode import UndecodableError, decode_bytes
from ibc_pyg.data.images.orientation import upright
from ibc_pyg.data.verify import check_file
from ibc_pyg.errors import reason
from tests.helpers.pictures import RGB, encoded, exif, hwc, near, photo

PILLOW = tuple(int(part) for part in PIL.__version__.split(".")[:2])
IMAGE = Image.fromarray(RGB)
TIFF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
DAMAGED = {
    "rubbish": b"garbage!" * 4,
    "short": b"II*\0",
    "empty": b"",
    "loop": b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x05\0\xff\xff\xff\xff\xff\xff\xff\xff" * 3,
    "absurd": TIFF[:18] + b"\x63\0" + TIFF[20:],  # orientation 99
}


def jpeg_with(payload, size=(40, 56)):
    data = encoded(Image.fromarray(photo(*size)), "JPEG", quality=95)
    body = b"Exif\0\0" + payload
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def png_with(payload):
    data = encoded(IMAGE, "PNG")
    chunk = b"eXIf" + payload
    chunk = struct.pack(">I", len(payload)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_leaves_the_picture(kind, form):
    payload = DAMAGED[kind]
    data = {
        "JPEG": lambda: jpeg_with(payload),
        "PNG": lambda: png_with(payload),
        "WEBP": lambda: encoded(IMAGE, "WEBP", lossless=True, exif=payload),
    }[form]()
    near(decode_bytes(data), RGB, 12 if form == "JPEG" else 0)


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_exif_leaves_a_picture_that_is_decoded_smaller(kind):
    pixels = decode_bytes(jpeg_with(DAMAGED[kind], (400, 600)), shrink_to=100)
    assert pixels.shape == (3, 100, 150)


def test_the_preview_and_the_full_size_have_one_orientation():
    data = jpeg_with(TIFF, (400, 600))
    assert decode_bytes(data).shape == (3, 600, 400)
    assert decode_bytes(data, shrink_to=100).shape == (3, 150, 100)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_does(orientation):
    image = Image.open(io.BytesIO(encoded(IMAGE, "PNG", exif=exif(orientation))))
    expected = np.asarray(ImageOps.exif_transpose(image))
    stored = np.asarray(image)
    turned = upright(from_numpy(stored.copy()).permute(2, 0, 1), orientation)
    assert np.array_equal(hwc(turned), expected)


def test_cmyk_tiff():
    cmyk = IMAGE.convert("CMYK")
    near(decode_bytes(encoded(cmyk, "TIFF")), np.asarray(cmyk.convert("RGB")), 0)


@pytest.mark.skipif(PILLOW < (12, 3), reason="Pillow before 12.3 cannot read them")
def test_ycbcr_tiff():
    near(decode_bytes(encoded(IMAGE.convert("YCbCr"), "TIFF")), RGB, 4)


def test_lab_tiff():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(IMAGE, to_lab)
    pixels = hwc(decode_bytes(encoded(lab, "TIFF"))).astype(int)
    # Saturated colours lie outside 8 bits of Lab: most pixels come back, not all.
    assert np.median(np.abs(pixels - RGB)) <= 3


def test_twelve_bits_in_sixteen_are_almost_black_and_verify_says_so(tmp_path):
    deep = RGB[:, :, 0].astype(np.uint16) << 4  # up to 4,080
    path = tmp_path / "camera.png"
    path.write_bytes(encoded(Image.fromarray(deep), "PNG"))
    assert decode_bytes(path.read_bytes()).max() == deep.max() >> 8
    assert check_file(path.name, path).dark
    path.write_bytes(encoded(Image.fromarray(deep << 4), "PNG"))
    assert not check_file(path.name, path).dark


def test_floating_point_pixels_are_refused_by_training_and_verify(tmp_path):
    path = tmp_path / "depth.tiff"
    path.write_bytes(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    with pytest.raises(UndecodableError, match="floating-point") as caught:
        decode_bytes(path.read_bytes())
    assert check_file(path.name, path).problem == str(caught.value)


def test_large_texts_in_a_png_are_refused_by_name():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "a" * 2**26, zip=True)
    with pytest.raises(UndecodableError, match=r"(?i)decompressed data too large"):
        decode_bytes(encoded(IMAGE, "PNG", pnginfo=texts))


def test_a_jpeg_keeps_its_picture_beside_large_metadata():
    data = encoded(IMAGE, "JPEG", quality=95)
    segment = b"\xff\xed" + struct.pack(">H", 65_000) + bytes(64_998)
    near(decode_bytes(data[:2] + 40 * segment + data[2:]), RGB, 12)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_training_and_verify_agree_on_damaged_files(form, tmp_path):
    rng = np.random.default_rng(0)
    whole = encoded(IMAGE, form)
    path = tmp_path / "file"
    seen = set()
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(data), 3)
        data[places] = rng.integers(0, 256, 3)
        path.write_bytes(data[: rng.integers(8, len(data) + 1)].tobytes())
        checked = check_file("file", path)
        seen.add(checked.problem is None)
        assert (checked.problem, checked.size) == outcome(path.read_bytes())
    assert False in seen


def outcome(data):
    try:
        height, width = decode_bytes(data).shape[1:]
    except UndecodableError as error:
        return reason(error), (0, 0)
    return None, (width, height)
