"""Uploaded pictures: recognised by their first bytes, decoded in memory, never written to disk."""

from __future__ import annotations

from ibc_pyg.serve.errors import RefusedError

_MAGIC = (
    (b"\xff\xd8\xff", 0),  # JPEG
    (b"\x89PNG\r\n\x1a\n", 0),
    (b"GIF87a", 0),
    (b"GIF89a", 0),
    (b"BM", 0),
    (b"II*\x00", 0),  # TIFF
    (b"MM\x00*", 0),
    (b"WEBP", 8),
    (b"ftyp", 4),  # AVIF, HEIC
    (b"P5", 0),  # PGM
    (b"P6", 0),  # PPM
    (b"P4", 0),  # PBM
)


def check_picture(body: bytes) -> None:
    """Refuse what does not begin like a picture; the declared content type does not matter.

    Raises:
        RefusedError: With status 400 or 415.
    """
    if not body:
        raise RefusedError(400, "the body is empty; send the bytes of a picture")
    if body.startswith(b"--") and b"form-data" in body[:1024]:
        raise RefusedError(
            415, "this is a form; send the picture itself as the body: curl --data-binary @FILE"
        )
    if not any(body[at : at + len(magic)] == magic for magic, at in _MAGIC):
        raise RefusedError(
            415, "this is not a picture in a format that is read: JPEG, PNG, WebP, GIF, TIFF, BMP"
        )
