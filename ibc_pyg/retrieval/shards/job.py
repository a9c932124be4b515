"""The plan of a job: its pictures in lists, one for each part, and the model that embeds them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ibc_pyg.errors import ConfigError, RunError, printable, program, reason
from ibc_pyg.files import make_folder, parse_json, read_bounded, read_json, write_atomically
from ibc_pyg.inference.embedder import ModelSource
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.models import Model, open_model
from ibc_pyg.retrieval.shards.listing import find_pictures
from ibc_pyg.retrieval.store.roots import PARTS, Part, Source
from ibc_pyg.retrieval.update.scan import Listed

FORMAT = 1
MAX_SHARDS = 500_000
MAX_PICTURES = 2**20
"""Most pictures, or tar files, of a part, which a worker and the merge hold in memory."""
_PLAN = "job.json"
_MAX_LIST = 2**30

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Job:
    """A job, as `plan_job` wrote it.

    Attributes:
        folder: Its folder.
        model: Fingerprint of the model, as JSON.
        place: Where the model can be opened again; None if it was made in memory.
        source: Where the pictures come from.
        batch_size: Number of pictures in a forward pass, which the vectors depend on by rounding
            errors.
        pictures: Number of pictures, or of tar files.
        lists: SHA-256 of the list of each part.
    """

    folder: Path
    model: str
    place: ModelSource | None
    source: Source
    batch_size: int
    pictures: int
    lists: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the whole plan."""
        return hashlib.sha256(self._text()).hexdigest()

    @property
    def fingerprint(self) -> Fingerprint:
        """The model that the job was planned for."""
        return Fingerprint.from_json(self.model)

    def part_file(self, shard: int) -> Path:
        """Return the file of a part."""
        return self.folder / "parts" / f"{shard:06d}.safetensors"

    def listed(self, shard: int) -> list[Listed]:
        """Return the pictures, or the tar files, of a part.

        Raises:
            RunError: If its list is missing or is not that of the plan.
        """
        path = _list_file(self.folder, shard)
        try:
            content = read_bounded(path, _MAX_LIST)
        except OSError as error:
            raise RunError(f"{printable(path)} cannot be read: {reason(error)}") from error
        if hashlib.sha256(content).hexdigest() != self.lists[shard]:
            raise RunError(f"{printable(path)} is not the list of this job; plan it again")
        return [Listed(*each) for each in parse_json(content)]

    def _text(self) -> bytes:
        values = {
            "format": FORMAT,
            "model": json.loads(self.model),
            "place": None if self.place is None else asdict(self.place),
            "source": asdict(self.source),
            "batch_size": self.batch_size,
            "pictures": self.pictures,
            "lists": self.lists,
        }
        return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def open(cls, folder: PathLike) -> Job:
        """Read a job.

        Raises:
            RunError: If the folder holds none, or it is damaged.
        """
        path = Path(folder) / _PLAN
        if not path.is_file():
            raise RunError(
                f"{printable(Path(folder))} is not a job; plan one: "
                f"{program()} index plan MODEL IMAGES --shards N --out JOB"
            )
        try:
            return cls._of(Path(folder), read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{printable(path)} is damaged; plan the job again") from error

    @classmethod
    def _of(cls, folder: Path, values: dict[str, object]) -> Job:
        if values["format"] != FORMAT:
            raise RunError(f"{printable(folder)} is of another version of ibc_pyg; plan it again")
        place, source = values["place"], values["source"]
        lists, numbers = values["lists"], (values["batch_size"], values["pictures"])
        if not (isinstance(source, dict) and isinstance(lists, list) and lists):
            raise TypeError
        if not all(isinstance(each, str) for each in lists) or source.get("part") not in PARTS:
            raise TypeError
        batch_size, pictures = numbers
        if not (isinstance(batch_size, int) and isinstance(pictures, int) and batch_size > 0):
            raise TypeError
        opened = ModelSource.of(place)
        model = Fingerprint.from_json(json.dumps(values["model"])).to_json()
        return cls(folder, model, opened, Source(**source), batch_size, pictures, tuple(lists))


def plan_job(
    model: Model,
    images: PathLike,
    folder: PathLike,
    shards: int,
    *,
    root: PathLike | None = None,
    part: Part = "all",
    weights: PathLike | None = None,
    trust_code: bool = False,
    batch_size: int = 64,
) -> Job:
    """Divide pictures into parts of nearly equal size, in the order in which an index has them.

    Args:
        model: As for `Index.build`.
        images: See `find_pictures`.
        folder: Folder of the job, missing or empty.
        shards: Number of parts; tar files are not divided.
        root: Folder of a data set.
        part: Which images of a CSV file or a data set.
        weights: Local weights of a pretrained backbone.
        trust_code: As for `ibc_pyg.load`.
        batch_size: Number of pictures in a forward pass; workers cannot choose another one, which
            would change the vectors by rounding errors.

    Raises:
        UserError: If an argument is out of range, or model, pictures or folder cannot be used.
    """
    folder = Path(folder)
    if not 1 <= shards <= MAX_SHARDS:
        raise ConfigError(f"--shards must be from 1 to {MAX_SHARDS:,}, not {shards}")
    _check_new(folder)
    source, listed = find_pictures(images, root, part)
    if shards > len(listed):
        raise ConfigError(
            f"--shards must be at most {len(listed):,}, the number of files of {source}"
        )
    if len(listed) > shards * MAX_PICTURES:
        least = -(-len(listed) // MAX_PICTURES)
        raise ConfigError(f"--shards must be at least {least:,} for {len(listed):,} pictures")
    embedder = open_model(model, weights=weights, trust_code=trust_code)
    fingerprint = Fingerprint.of(embedder).to_json()
    make_folder(folder / "lists")
    make_folder(folder / "parts")
    lists = []
    for shard in range(shards):
        first, last = (len(listed) * each // shards for each in (shard, shard + 1))
        content = _list_text(listed[first:last])
        write_atomically(_list_file(folder, shard), content)
        lists.append(hashlib.sha256(content).hexdigest())
    job = Job(folder, fingerprint, embedder.source, source, batch_size, len(listed), tuple(lists))
    write_atomically(folder / _PLAN, job._text())
    return job


def _check_new(folder: Path) -> None:
    name = printable(folder)
    if (folder / _PLAN).exists():
        raise RunError(
            f"{name} already holds a job; work on it ({program()} index work {name}), or choose "
            "another --out"
        )
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{name} is a file; choose another --out")
    others = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    if any(each not in ("lists", "parts") for each in others):
        raise RunError(f"{name} is not empty; choose another --out")


def _list_file(folder: Path, shard: int) -> Path:
    return folder / "lists" / f"{shard:06d}.json"


def _list_text(listed: Sequence[Listed]) -> bytes:
    rows = [[each.path, each.label, each.size, each.mtime_ns] for each in listed]
    return json.dumps(rows, separators=(",", ":")).encode()
