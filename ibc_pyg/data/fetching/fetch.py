"""Download of one file over HTTP, with resume."""

from __future__ import annotations

import errno
import http.client
import logging
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.data.fetching.archive import BLOCK, Progress, require_space
from ibc_pyg.errors import DatasetError, printable, reason
from ibc_pyg.files import file_digest, read_bounded, write_atomically

_logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
ATTEMPTS = 6
FATAL = frozenset({400, 401, 403, 404, 405, 410, 451})
MOST_REQUESTS = 1000
UNKNOWN_SIZE = 4 * 2**30
"""Most bytes of a file whose size has not been published."""


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: Address, https; http only with a digest.
        name: Name of the saved file.
        size: Size in bytes, if known.
        digest: `md5:...` or `sha256:...`, if published. Otherwise that of the first download is
            kept beside the file, as NAME.sha256, and a file that differs from it is refused.
        source: Publication of size and digest.
        unpacked: Approximate size in bytes when unpacked; 0 for files that are not unpacked.
    """

    url: str
    name: str
    size: int | None = None
    digest: str | None = None
    source: str = ""
    unpacked: int = 0


def check(file: Path, remote: Remote) -> None:
    """Compare a file's size and digest with the published ones, or those of its first download.

    Raises:
        DatasetError: If they differ.
    """
    size = file.stat().st_size
    if remote.size is not None and size != remote.size:
        raise DatasetError(
            f"{printable(file)}: {size:,} bytes, but {remote.size:,} in {remote.source}; delete "
            "it and download it again"
        )
    if remote.digest:
        algorithm, _, wanted = remote.digest.partition(":")
        found = file_digest(file, algorithm)
        if found != wanted:
            raise DatasetError(
                f"{printable(file)}: {algorithm} {found}, but {wanted} in {remote.source}; delete "
                "it and download it again"
            )
        return
    kept = _pin_file(file, remote)
    found = _pin_line(file, remote)
    try:
        pinned = read_bounded(kept, 4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return
    if found != pinned:
        raise DatasetError(
            f"{printable(file)}: its SHA-256 is not the one of the first download, in "
            f"{kept.name}; use another copy, or delete both files if you trust the new one"
        )


def _pin(file: Path, remote: Remote) -> None:
    """Keep the digest of a file that has no published one, in the format of `sha256sum`."""
    kept = _pin_file(file, remote)
    if remote.digest is None and not kept.exists():
        write_atomically(kept, _pin_line(file, remote).encode())


def _pin_file(file: Path, remote: Remote) -> Path:
    return file.with_name(f"{remote.name}.sha256")


def _pin_line(file: Path, remote: Remote) -> str:
    return f"{file_digest(file)}  {remote.name}\n"


def fetch(
    remote: Remote,
    folder: Path,
    *,
    progress: Progress | None = None,
    attempts: int = ATTEMPTS,
    pause_s: float = 1.0,
) -> Path:
    """Download a file into `folder`; an interrupted transfer, `NAME.part`, is resumed.

    Args:
        remote: The file.
        folder: Destination; created if absent.
        progress: Called with a label, the bytes done and the bytes in all (None if unknown).
        attempts: Number of consecutive attempts without a received byte before giving up.
        pause_s: Pause before the second attempt in seconds; doubled each time.

    Returns:
        The file, with size and digest checked. An existing file is not downloaded again.

    Raises:
        DatasetError: If the server refuses, the transfer keeps failing, the disk has too little
            space, or the file differs from the published one (it is then deleted).
        RunError: If the digest of a first download cannot be kept.
    """
    if not remote.url.startswith(("http://", "https://")):
        raise DatasetError(f"{remote.url}: only http and https addresses are supported")
    _check_scheme(remote, remote.url)
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists():
            check(target, remote)
            _pin(target, remote)
            return target
        failures = 0
        for _ in range(MOST_REQUESTS):
            before = part.stat().st_size if part.exists() else 0
            try:
                _transfer(remote, part, progress)
                break
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                code = getattr(error, "code", None)
                if code in FATAL or _disk_error(error):
                    raise DatasetError(
                        f"{remote.url}: cannot be downloaded: {reason(error)}"
                    ) from error
                came = (part.stat().st_size if part.exists() else 0) > before
                failures = 0 if came else failures + 1
                if failures >= attempts:
                    raise DatasetError(
                        f"{remote.url}: cannot be downloaded: {reason(error)}; run the "
                        "command again to resume"
                    ) from error
                _logger.warning("%s: transfer interrupted (%s), resuming", remote.url, error)
                time.sleep(pause_s * 2**failures)
        else:
            raise DatasetError(
                f"{remote.url}: cannot be downloaded: {MOST_REQUESTS} transfers were interrupted"
            )
        try:
            check(part, remote)
        except DatasetError:
            _discard(part)
            raise
        part.replace(target)
        _pin(target, remote)
        _discard(part)
    except OSError as error:
        raise DatasetError(f"{printable(folder)}: cannot be written: {error.strerror}") from error
    return target


def _check_scheme(remote: Remote, url: str) -> None:
    """Refuse http, which anyone on the way can change, unless a published digest is compared."""
    if remote.digest is None and not url.startswith("https://"):
        raise DatasetError(f"{url}: without a published digest only https addresses are supported")


def _disk_error(error: BaseException) -> bool:
    """Return whether the error concerns a local file and not the network."""
    if not isinstance(error, OSError) or isinstance(error, urllib.error.URLError):
        return False
    return error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)


def _validator_file(part: Path) -> Path:
    """Return the file that stores the ETag of the version of `part`."""
    return part.with_name(part.name + ".etag")


def _transfer(remote: Remote, part: Path, progress: Progress | None) -> None:
    """Make one request and append the response to `part`.

    Raises:
        OSError: If the transfer is interrupted.
    """
    keep = _validator_file(part)
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(remote.url, headers={"User-Agent": "ibc-pyg"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        if keep.exists() and (validator := keep.read_text().strip()):
            request.add_header("If-Range", validator)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Either the part is complete, or it belongs to another file: the size tells.
        if remote.size is not None and done == remote.size:
            return
        _discard(part)
        raise ConnectionError("the server does not have that range; restarting") from error
    with response:
        _check_scheme(remote, response.url)
        start, total = _span(response.headers, response.status, done)
        if start != done:
            done = 0
        etag = response.headers.get("ETag", "")
        keep.write_text("" if etag.startswith("W/") else etag)
        if total is not None and remote.size is not None and total != remote.size:
            raise DatasetError(
                f"{remote.url}: {total:,} bytes offered, but {remote.size:,} in {remote.source}; "
                "the file has changed, use another copy"
            )
        size = total if total is not None else remote.size
        most = UNKNOWN_SIZE if size is None else size
        if most > UNKNOWN_SIZE and remote.size is None:
            raise DatasetError(f"{remote.url}: {most:,} bytes offered, more than expected")
        require_space(part.parent, (size or 0) - done + remote.unpacked, f"for {remote.name}")
        with part.open("ab" if done else "wb") as out:
            while block := response.read(BLOCK):
                out.write(block)
                done += len(block)
                if done > most:
                    raise DatasetError(f"{remote.url}: more than {most:,} bytes came")
                if progress:
                    progress(f"downloading {remote.name}", done, size)
    if size is not None and done < size:
        raise ConnectionError(f"connection closed after {done:,} of {size:,} bytes")


def _span(headers: http.client.HTTPMessage, status: int, done: int) -> tuple[int, int | None]:
    """Return the position of the body in the file, and the size of the whole file."""
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if match is None or int(match[1]) != done:
            raise ConnectionError("the server returned another range than requested")
        return done, None if match[2] == "*" else int(match[2])
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None
