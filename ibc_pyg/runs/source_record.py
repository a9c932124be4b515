"""Source of the plugged code that a run uses: a copy of each file, hashes, and versions.

A plugged class or function is named `FILE.py:NAME`, `package.module:NAME`, by an entry point or, if
it is a graph layer, `package.module.NAME`. Of a file, the run keeps a copy in `code/`; of a module,
also that behind an entry point, its hash and the version of its package. What the code itself
imports is not kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import (
    file_digest,
    make_folder,
    read_json,
    refuse_link,
    write_atomically,
    write_json,
)
from ibc_pyg.plugins.entry_points import entry_point, entry_point_package
from ibc_pyg.plugins.reference import is_reference, named_file, named_module

CODE = "code"
"""Folder of the copies, in the folder of the run."""
CODE_RECORD = "code.json"


@dataclass(frozen=True)
class Source:
    """Source of one plugged class or function.

    Attributes:
        file: Its file, as the experiment names it, or that of its module; None if there is none.
        sha256: Hash of the file; None if it cannot be read.
        copy: Name of the copy in `code/`; None for a module.
        package: Distribution that a module is of; None without one.
        version: Version of that distribution.
        target: `package.module:NAME` behind an entry point; None for other references.
    """

    file: str | None
    sha256: str | None
    copy: str | None = None
    package: str | None = None
    version: str | None = None
    target: str | None = None


def current_source(reference: str) -> Source:
    """Return the source as it is now; the parents of a module are imported, a file is not."""
    file = named_file(reference)
    if file is not None:
        return Source(str(file), _digest(file))
    target = None if is_reference(reference) else entry_point(reference)
    module = named_module(target or reference) or ""
    package, version = (entry_point_package(reference) if target else None) or _package(module)
    origin = _origin(module)
    digest = None if origin is None else _digest(Path(origin))
    return Source(origin, digest, None, package, version, target)


def record_sources(run: Path, references: Iterable[str]) -> None:
    """Write `code.json`, and the copy of each file; without references, neither.

    Args:
        run: Folder of the run.
        references: Plugged classes and functions, as the experiment names them.

    Raises:
        RunError: If a file cannot be read, or a copy cannot be written.
    """
    found: dict[str, Source] = {}
    copies: dict[str, bytes] = {}
    for reference in sorted(references):
        source, file = current_source(reference), named_file(reference)
        if file is not None:
            try:
                content = file.read_bytes()
            except OSError as error:
                raise RunError(f"{printable(file)} cannot be read: {reason(error)}") from error
            digest = hashlib.sha256(content).hexdigest()
            name = file.name
            if copies.get(name, content) != content:
                name = f"{file.stem}-{digest[:12]}.py"
            copies[name] = content
            source = Source(str(file), digest, name)
        found[reference] = source
    (run / CODE_RECORD).unlink(missing_ok=True)
    if not found:
        return
    if copies:
        refuse_link(run / CODE)
        make_folder(run / CODE)
    for name, content in copies.items():
        write_atomically(run / CODE / name, content)
    write_json(run / CODE_RECORD, {each: asdict(source) for each, source in found.items()})


def read_sources(run: Path) -> dict[str, Source]:
    """Return the sources of a run by reference; none for a run of an earlier version.

    Raises:
        RunError: If the record is damaged.
    """
    record = run / CODE_RECORD
    if not record.is_file():
        return {}
    try:
        sources = {name: Source(**fields) for name, fields in read_json(record).items()}
    except TypeError as error:
        raise RunError(f"{printable(record)} is damaged: it is no record of code") from error
    for source in sources.values():
        words = asdict(source).values()
        if not all(word is None or isinstance(word, str) for word in words) or (
            source.copy is not None and Path(source.copy).name != source.copy
        ):
            raise RunError(f"{printable(record)} is damaged: it is no record of code")
    return sources


def kept_references(run: Path) -> dict[str, str]:
    """Return the reference to the copy of each plugged file of a run, by its own reference.

    Raises:
        RunError: If a copy is missing or was changed.
    """
    kept = {}
    for reference, source in read_sources(run).items():
        if source.copy is None:
            continue
        copy = run / CODE / source.copy
        if _digest(copy) != source.sha256:
            raise RunError(
                f"{printable(copy)} is missing or was changed after the training; put back the "
                f"file that {printable(source.file or reference)} was then"
            )
        kept[reference] = f"{copy}:{reference.rpartition(':')[2]}"
    return kept


def changed_source(run: Path, references: Iterable[str]) -> str | None:
    """Return a message about the first reference whose code is not what the run used.

    Args:
        run: Folder of the run. What it has no record of is not compared.
        references: Plugged classes and functions. A file that has gone is not a changed one.

    Raises:
        RunError: If the record is damaged.
    """
    kept = read_sources(run)
    for reference in sorted(set(references) & kept.keys()):
        before, now = kept[reference], current_source(reference)
        if before.target is not None and before.target != now.target:
            return (
                f"{printable(reference)} is now {printable(now.target or 'missing')}, but "
                f"{printable(run)} was made with {printable(before.target)}; give a new --out, or "
                f"install the package that adds it"
            )
        if before.package is not None and before.version != now.version:
            return (
                f"{before.package} {now.version} is installed, but {printable(run)} was made with "
                f"{before.version}; give a new --out, or install that version"
            )
        if now.sha256 is None or now.sha256 == before.sha256:
            continue
        advice = "put back its earlier content"
        if before.copy is not None:
            copy, file = str(run / CODE / before.copy), now.file or ""
            advice = f"restore it: cp {shlex.quote(copy)} {shlex.quote(file)}"
        return (
            f"{printable(now.file or reference)} has changed since {printable(run)} was made with "
            f"it; give a new --out for the changed code, or {printable(advice)}"
        )
    return None


def check_sources(run: Path, references: Iterable[str]) -> None:
    """Refuse code that is not what a run used; see `changed_source`.

    Raises:
        RunError: Naming the file and what to do.
    """
    if (message := changed_source(run, references)) is not None:
        raise RunError(message)


def digests(references: Iterable[str]) -> dict[str, str | None]:
    """Return the hash of each source as it is now."""
    return {reference: current_source(reference).sha256 for reference in sorted(references)}


def first_changed(before: Mapping[str, str | None]) -> str | None:
    """Return the first reference whose hash differs from that of `digests`."""
    now = digests(before)
    return next((name for name, digest in before.items() if now[name] != digest), None)


def _digest(file: Path) -> str | None:
    try:
        return file_digest(file)
    except OSError:
        return None


def _package(module: str) -> tuple[str | None, str | None]:
    """Return name and version of the distribution that a module is of; None without one."""
    package = next(iter(metadata.packages_distributions().get(module.partition(".")[0], ())), None)
    return package, None if package is None else metadata.version(package)


def _origin(module: str) -> str | None:
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        return str(loaded)
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # a parent of the module may raise anything
        return None
    return None if spec is None or not spec.has_location else spec.origin
