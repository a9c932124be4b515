"""Decoding of image files to RGB pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from ibc_pyg.data.images.formats import FORMATS
from ibc_pyg.data.images.orientation import jpeg_orientation, orientation_of, upright
from ibc_pyg.errors import DatasetError, reason
from ibc_pyg.files import read_bounded

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # torchvision 0.29 announces the removal of its decoders
    decode_jpeg = None

MAX_PIXELS = 89_478_485
"""Larger images are refused: as RGB they take more than 256 MiB (also Pillow's limit)."""
MAX_RATIO = 64
"""Most times that an image is longer than wide, or wider than long. Scaling the shorter side of a
strip to some hundred pixels would scale the longer one to millions."""
MAX_BYTES = 2**29
"""Most bytes of an image file, those of `MAX_PIXELS` as uncompressed 16-bit RGB."""
MAX_SCANS = 256
"""Most scans of a JPEG; each costs a pass over all pixels, however short it is."""

_ADVICE = "restore it, remove it from the data set, or skip it: --data.on_error skip"


def decode_image(path: Path | str, *, shrink_to: int | None = None) -> Tensor:
    """Read an image as 8-bit RGB.

    torchvision decodes JPEG files; Pillow decodes CMYK JPEGs and all other formats. Both apply
    the EXIF orientation; damaged metadata are ignored. Grey is repeated to RGB, palettes, CMYK and
    Lab are converted, 16-bit values keep their high byte, transparent parts become white, and an
    animation gives its first frame.

    Args:
        path: The file.
        shrink_to: Decode a large JPEG at 1/2, 1/4 or 1/8 of its size, several times as fast, as
            long as its shorter side keeps at least this many pixels. None: full size.

    Returns:
        uint8 `[3, H, W]`, usually in channels-last memory order.

    Raises:
        DatasetError: If the file cannot be read, is empty, truncated or not an image, has more
            than `MAX_PIXELS` pixels, or is longer than `MAX_RATIO` times its width; names the file.
    """
    return decode_content(path, read_content(path), shrink_to=shrink_to)


def read_content(path: Path | str) -> bytes:
    """Return the bytes of an image file; raise DatasetError if it cannot be read or is empty."""
    try:
        data = read_bounded(Path(path), MAX_BYTES)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({reason(error)}); {_ADVICE}") from None
    if not data:
        raise DatasetError(f"{path}: the file is empty (0 bytes); {_ADVICE}")
    return data


def decode_content(path: Path | str, data: bytes, *, shrink_to: int | None = None) -> Tensor:
    """Decode the bytes `data` of the file `path`; see `decode_image`."""
    try:
        return decode_bytes(data, shrink_to=shrink_to)
    except UndecodableError as error:
        raise DatasetError(f"{path}: {error}; {_ADVICE}") from None


class UndecodableError(Exception):
    """The bytes cannot be decoded; the message is the reason."""


def decode_bytes(data: bytes, *, shrink_to: int | None = None) -> Tensor:
    """Decode the contents of an image file; see `decode_image`."""
    frame = jpeg_frame(data)
    if frame is None:
        return decode_with_pillow(data, shrink_to=shrink_to)
    height, width, components = frame
    check_size(width, height)
    check_scans(data)
    shrinks = shrink_to is not None and min(height, width) >= 2 * shrink_to
    if decode_jpeg is None or components not in (1, 3) or shrinks:
        return decode_with_pillow(data, shrink_to=shrink_to)
    # torch asks for writable memory; copying the compressed bytes costs a microsecond.
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels: Tensor = decode_jpeg(buffer, mode=ImageReadMode.RGB)  # [3, H, W]
    except RuntimeError:
        # Pillow supports more variants, and its messages about damaged files are better.
        return decode_with_pillow(data, shrink_to=shrink_to)
    return upright(pixels, jpeg_orientation(data))


def decodes_on_devices() -> bool:
    """Whether this version of torchvision decodes JPEG files, on a GPU or on the CPU."""
    return decode_jpeg is not None


def decode_jpegs(buffers: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Decode JPEG files to RGB on a device.

    Args:
        buffers: Bytes of each file, uint8 `[bytes]` on the CPU.
        device: A GPU, which decodes by nvJPEG (https://docs.nvidia.com/cuda/nvjpeg), or the CPU.

    Returns:
        Pixels of each file, uint8 `[3, H, W]` on `device`.

    Raises:
        RuntimeError: If one of them cannot be decoded.
    """
    pixels: list[Tensor] = decode_jpeg(list(buffers), mode=ImageReadMode.RGB, device=device)
    return pixels


def decode_with_pillow(data: bytes, *, shrink_to: int | None = None) -> Tensor:
    """Decode the contents of an image file with Pillow only; see `decode_image`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(*image.size)
            if shrink_to is not None and image.format == "JPEG" and image.mode != "CMYK":
                image.draft("RGB", _at_least(image.size, shrink_to))
            return picture_pixels(image)
    except UndecodableError:
        raise
    except MemoryError:
        raise UndecodableError("it needs more memory than there is") from None
    except Image.DecompressionBombError:
        raise UndecodableError(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UndecodableError(f"not an image in a known format ({len(data):,} bytes)") from None
    except Exception as error:
        # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error and others on
        # damaged files.
        raise UndecodableError(f"truncated or damaged ({reason(error)})") from None


def to_pillow(pixels: Tensor) -> Image.Image:
    """Return pixels, uint8 `[3, H, W]`, as an RGB image of Pillow."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def picture_pixels(image: Image.Image) -> Tensor:
    """Return the pixels of an open Pillow image, converted as by `decode_image`.

    Returns:
        uint8 `[3, H, W]`.

    Raises:
        Exception: Of any kind that Pillow raises on damaged files.
    """
    pixels = np.array(_as_rgb(image))  # [H, W, 3]
    # After the pixels: some formats keep their metadata behind them.
    return upright(torch.from_numpy(pixels).permute(2, 0, 1), orientation_of(image))  # [3, H, W]


def jpeg_frame(data: bytes) -> tuple[int, int, int] | None:
    """Return height, width and number of components of a JPEG; None if there is no frame header.

    Only the headers of the segments before it are read (ITU-T T.81, annex B).
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return height, width, data[at + 9]
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def check_size(width: int, height: int) -> None:
    """Raise UndecodableError for an image of more than `MAX_PIXELS`, or of an extreme shape."""
    if width * height > MAX_PIXELS:
        raise UndecodableError(
            f"{width} x {height} pixels, more than the allowed {MAX_PIXELS:,}; scale it down"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UndecodableError(
            f"{width} x {height} pixels, one side more than {MAX_RATIO} times the other; cut it"
        )


def check_scans(data: bytes) -> None:
    """Raise UndecodableError for a JPEG of more than `MAX_SCANS` scans."""
    # Entropy-coded data do not contain the marker of a scan; the preview in EXIF has its own.
    if data[:3] == b"\xff\xd8\xff" and data.count(b"\xff\xda") > MAX_SCANS:
        raise UndecodableError(f"a JPEG of more than {MAX_SCANS} scans")


def _at_least(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Return a size of the same shape whose shorter side is `shorter`, rounded up."""
    return (-(-size[0] * shorter // min(size)), -(-size[1] * shorter // min(size)))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which some formats return as 32
        high = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if image.mode == "F":
        raise UndecodableError("pixels are floating-point numbers; convert it to 8 or 16 bits")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert converted is not None
        return converted
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
