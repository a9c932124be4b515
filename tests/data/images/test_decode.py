import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibc_pyg.data.images import decode
from ibc_pyg.data.images.decode import (
    UndecodableError,
    decode_bytes,
    decode_image,
    decode_with_pillow,
    jpeg_frame,
)
from ibc_pyg.data.images.formats import FORMATS
from ibc_pyg.data.images.pictures import list_pictures
from ibc_pyg.data.verify import check_file
from ibc_pyg.errors import DatasetError
from tests.helpers.pictures import GREY, RGB, encoded, exif, hwc, near, photo

# The tolerance of a JPEG is what its quantisation may change in a smooth picture at quality 95.
JPEG, EXACT = 12, 0


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "JPEG"])
def test_formats(form):
    options = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    data = encoded(Image.fromarray(RGB), form, **options)
    near(decode_bytes(data), RGB, JPEG if form == "JPEG" else EXACT)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_grey_is_repeated(form):
    pixels = decode_bytes(encoded(Image.fromarray(GREY), form))
    near(pixels, np.repeat(GREY[:, :, None], 3, -1), JPEG if form == "JPEG" else EXACT)


def test_one_bit():
    bits = Image.fromarray(GREY).convert("1")
    near(decode_bytes(encoded(bits, "PNG")), np.asarray(bits.convert("RGB")), EXACT)


def test_palette():
    palette = Image.fromarray(RGB).quantize(16)
    near(decode_bytes(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")), EXACT)


def test_16_bit_grey_keeps_the_high_byte():
    deep = (GREY.astype(np.uint16) << 8) + 77
    data = encoded(Image.fromarray(deep), "PNG")
    near(decode_bytes(data), np.repeat(GREY[:, :, None], 3, -1), EXACT)


def test_16_bit_tiff():
    deep = (GREY.astype(np.uint16) << 8) + 77
    data = encoded(Image.fromarray(deep), "TIFF")
    near(decode_bytes(data), np.repeat(GREY[:, :, None], 3, -1), EXACT)


def test_transparent_parts_are_white():
    alpha = np.full((*RGB.shape[:2], 1), 255, np.uint8)
    alpha[:10] = 0
    data = encoded(Image.fromarray(np.concatenate([RGB, alpha], -1)), "PNG")
    expected = RGB.copy()
    expected[:10] = 255
    near(decode_bytes(data), expected, EXACT)


def test_transparent_palette_entry_is_white():
    palette = Image.fromarray(np.repeat([[0, 1]], 4, 0).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    pixels = hwc(decode_bytes(encoded(palette, "PNG", transparency=0)))
    assert pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(form):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 120, 250)]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    near(decode_bytes(data), np.full((8, 8, 3), 10), EXACT)


def test_cmyk_jpeg():
    cmyk = Image.fromarray(RGB).convert("CMYK")
    near(decode_bytes(encoded(cmyk, "JPEG", quality=95)), np.asarray(cmyk.convert("RGB")), 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation(form, orientation):
    data = encoded(Image.fromarray(RGB), form, exif=exif(orientation))
    # The eight cases of the EXIF standard (TIFF 6.0, tag 274), written out.
    turned = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    near(decode_bytes(data), turned, 24 if form == "JPEG" else EXACT)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_both_routes_give_the_same_pixels(mode, options, orientation):
    image = Image.fromarray(photo(45, 67)).convert(mode)
    data = encoded(image, "JPEG", exif=exif(orientation), **options)
    ours, pillow = hwc(decode_bytes(data)), hwc(decode_with_pillow(data))
    assert ours.shape == pillow.shape
    # The two libjpeg builds may differ in the rounding of their inverse DCT and upsampling.
    assert np.abs(ours.astype(int) - pillow.astype(int)).max() <= 3


def test_real_photographs_take_the_same_route_or_give_the_same_pixels(shared):
    files = sorted((shared / "data" / "grocery_store").rglob("*.jpg"))[::400]
    assert files
    for file in files:
        data = file.read_bytes()
        near(decode_image(file), hwc(decode_with_pillow(data)), 3)


@pytest.mark.parametrize(
    ("shrink_to", "shape"),
    [(None, (400, 600)), (100, (100, 150)), (190, (200, 300)), (201, (400, 600))],
)
def test_large_jpegs_are_decoded_smaller_on_request(shrink_to, shape):
    data = encoded(Image.fromarray(photo(400, 600)), "JPEG", quality=95)
    pixels = decode_bytes(data, shrink_to=shrink_to)
    assert tuple(pixels.shape[1:]) == shape
    expected = Image.fromarray(photo(400, 600)).resize(shape[::-1], Image.Resampling.BOX)
    near(pixels, expected, JPEG)


def test_without_torchvisions_decoder_pillow_reads_jpegs(monkeypatch):
    monkeypatch.setattr(decode, "decode_jpeg", None)
    near(decode_bytes(encoded(Image.fromarray(RGB), "JPEG", quality=95)), RGB, JPEG)


def test_frame_header_of_jpegs():
    data = encoded(Image.fromarray(RGB), "JPEG", exif=exif(6), progressive=True)
    assert jpeg_frame(data) == (40, 56, 3)
    assert jpeg_frame(encoded(Image.fromarray(GREY), "JPEG")) == (40, 56, 1)
    assert jpeg_frame(encoded(Image.fromarray(RGB), "PNG")) is None
    assert jpeg_frame(data[:30]) is None


def broken_files():
    whole = encoded(Image.fromarray(photo(200, 300)), "JPEG", quality=95)
    png = encoded(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "PNG"
    )
    return {
        "empty": (b"", "empty"),
        "half.jpg": (whole[: len(whole) // 2], "truncated"),
        "header.jpg": (whole[:40], "."),
        "magic.jpg": (whole[:3], "."),
        "half.png": (png[: len(png) // 2], "truncated"),
        "damaged.png": (png[:60] + bytes(40) + png[100:], "damaged"),
        "page.html": (b"<!DOCTYPE html><title>404</title>", "not an image"),
        "float.tiff": (
            encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
            "floating-point",
        ),
    }


@pytest.mark.parametrize("name", list(broken_files()))
def test_broken_files_are_named(tmp_path, name):
    data, says = broken_files()[name]
    path = tmp_path / "Gänse blümchen 花" / name
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=says) as caught:
        decode_image(path)
    assert str(path) in str(caught.value)
    assert "--data.on_error skip" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"missing\.jpg: cannot be read"):
        decode_image(tmp_path / "missing.jpg")


def test_links_and_odd_names(tmp_path):
    target = tmp_path / "Äpfel & Birnen.jpg"
    Image.fromarray(RGB).save(target, quality=95)
    (tmp_path / "link").symlink_to(target)
    near(decode_image(tmp_path / "link"), RGB, JPEG)


def test_truncation_at_any_place_is_an_error_or_a_picture():
    for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        data = encoded(Image.fromarray(RGB), form)
        for end in range(1, len(data), max(1, len(data) // 60)):
            try:
                pixels = decode_bytes(data[:end])
            except decode.UndecodableError:
                continue
            assert pixels.shape == (3, 40, 56)


def test_noise_is_never_another_error():
    rng = np.random.default_rng(1)
    for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        data = encoded(Image.fromarray(RGB), form)
        for _ in range(60):
            mutated = np.frombuffer(data, np.uint8).copy()
            places = rng.integers(0, len(data), 4)
            mutated[places] = rng.integers(0, 256, 4)
            try:
                pixels = decode_bytes(mutated.tobytes())
            except decode.UndecodableError:
                continue
            assert pixels.shape[0] == 3


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_decompression_bombs_are_refused(form, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    path = tmp_path / "bomb"
    path.write_bytes(encoded(Image.fromarray(RGB), form))
    with pytest.raises(DatasetError, match="56 x 40 pixels, more than the allowed 1,000"):
        decode_image(path)


def test_a_real_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 20000)).save(path)  # 400 megapixels in 50 kB
    with pytest.raises(DatasetError, match="pixels"):
        decode_image(path)


def test_formats_that_run_other_programs_are_not_opened(tmp_path):
    """Pillow hands EPS to Ghostscript, which executes PostScript."""
    written = tmp_path / "written"
    eps = (
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
        f"({written}) (w) file closefile\nshowpage\n%%EOF\n"
    )
    path = tmp_path / "picture.png"
    path.write_text(eps)
    with pytest.raises(DatasetError, match="not an image in a known format"):
        decode_image(path)
    assert not written.exists()
    assert set(FORMATS).isdisjoint({"EPS", "WMF", "FPX", "MIC", "PDF"})


def test_a_strip_is_refused_before_it_is_decoded(tmp_path):
    """258 bytes that the scaling of the shorter side would turn into gigabytes."""
    for shape in [(1, 60_000), (60_000, 1), (10, 641)]:
        for form in ("PNG", "JPEG"):
            data = encoded(Image.new("L", shape), form)
            with pytest.raises(UndecodableError, match="one side more than 64 times the other"):
                decode_bytes(data)
            assert not check_bytes(tmp_path, data).size[0]
    assert decode_bytes(encoded(Image.new("L", (10, 640)), "PNG")).shape == (3, 640, 10)


def check_bytes(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    return check_file("x", tmp_path / "x")


def test_verify_names_the_same_reasons(tmp_path, monkeypatch):
    scans = encoded(Image.fromarray(RGB), "JPEG", progressive=True)
    monkeypatch.setattr(decode, "MAX_SCANS", 3)
    large = encoded(Image.new("1", (10_000, 10_000)), "PNG")
    for data, reason in [
        (scans, "a JPEG of more than 3 scans"),
        (large, "10000 x 10000 pixels, more than the allowed 89,478,485"),
        (encoded(Image.new("L", (1, 100)), "PNG"), "one side more than 64 times the other"),
    ]:
        with pytest.raises(UndecodableError, match=reason):
            decode_bytes(data)
        assert reason in check_bytes(tmp_path, data).problem


def test_what_is_not_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, Path("/dev/zero")):
        with pytest.raises(DatasetError, match="not a regular file"):
            decode_image(path)
        assert "not a regular file" in check_file("x", path).problem


def test_a_large_file_is_not_read(tmp_path):
    (tmp_path / "x.png").touch()
    os.truncate(tmp_path / "x.png", 2**40)
    with pytest.raises(DatasetError, match="larger than the allowed 536,870,912 bytes"):
        decode_image(tmp_path / "x.png")
    assert "larger than the allowed" in check_file("x", tmp_path / "x.png").problem


def test_a_deep_tree_of_pictures(tmp_path):
    folder = tmp_path
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):  # its path is longer than the system takes
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(DatasetError, match="more than 100 folders deep"):
        list_pictures(folder)
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)
