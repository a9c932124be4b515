"""Tracker for Weights & Biases (https://docs.wandb.ai); its failures do not stop a training."""

from __future__ import annotations

import glob
import importlib
import logging
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.track.base import Picture, Record, check_picture

_logger = logging.getLogger(__name__)

WandbMode = Literal["online", "offline", "disabled"]

INIT_TIMEOUT = 30.0
"""Seconds after which a server that does not answer is given up."""
FINISH_TIMEOUT = 120.0
"""Seconds for the last uploads; data that is not uploaded stays on disk for `wandb sync`."""


class WandbTracker:
    """A run in Weights & Biases: scalars, configuration, pictures and the summary.

    Without a key or without an answer from the server, an online run is written offline, with one
    warning. The first exception of the library is logged as a warning, and training continues.

    `wandb sync` uploads every offline folder whole. So that each step is uploaded once, an offline
    run that goes on from a checkpoint is written anew from its beginning, and its earlier folder is
    renamed to `superseded-...`. If that has been uploaded, the run gets a new identity.

    Args:
        mode: `online` sends the run, `offline` writes it to `run_dir/wandb` for `wandb sync`,
            `disabled` does not import the library.
        project: Project of the run; None takes the library's default.
        entity: User or team; None takes the key's default.
        name: Name of the run.
        group: Name that the runs of one experiment share.
        tags: Tags of the run.
        run_dir: Folder of the run; the library's files go to `wandb` inside it.
        config: The full configuration, nested mappings of plain values.
        run_id: Identity of the run to resume, from `run_id` of its tracker; None starts a new run.
        init_timeout: Seconds after which a server that does not answer is given up.

    Attributes:
        mode: Mode in effect, after a fallback from online to offline.
        run_id: Identity of the run, for a resume; None if there is no run.
        url: Address of an online run; None otherwise.
        upload_command: Shell command that uploads an offline run; None for others.

    Raises:
        ConfigError: If `mode` is unknown, or needs the package and it is not installed.
    """

    def __init__(
        self,
        mode: WandbMode,
        *,
        project: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        run_dir: Path | str = ".",
        config: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        init_timeout: float = INIT_TIMEOUT,
    ) -> None:
        if mode not in get_args(WandbMode):
            raise ConfigError(
                f"track.wandb must be one of {', '.join(get_args(WandbMode))}, got {mode!r}"
            )
        self.mode: WandbMode = mode
        self._run: Any = None
        self._replaces = False
        self._written = False
        self._summary: dict[str, float] = {}
        self._warned = False
        self.upload_command: str | None = None
        if mode == "disabled":
            return
        self._wandb, self._init_timeout = _import_wandb(mode), init_timeout
        self._folder = Path(run_dir) / "wandb"
        if mode == "offline" and run_id and self._uploaded(run_id):
            _logger.warning(
                "a part of the W&B run %s was uploaded; it goes on as a new run", run_id
            )
            run_id, self._replaces = None, True
        self._arguments = {
            "project": project,
            "entity": entity,
            "name": name,
            "group": group,
            "tags": list(tags) or None,
            "dir": str(run_dir),
            "config": dict(config or {}),
            "id": run_id,
            "resume": "allow" if run_id else None,
        }
        # Without the folder the library warns that it is not a git repository.
        Path(run_dir).mkdir(parents=True, exist_ok=True)
        self._run = self._start(self._arguments)
        if self._run is not None and self.mode == "offline":
            self._set_aside(str(self._run.id), but=Path(self._run.dir).parent)
            self._name_upload()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.mode!r})"

    @property
    def run_id(self) -> str | None:
        """Identity of the run, for a resume; None if there is no run."""
        return None if self._run is None else str(self._run.id)

    @property
    def url(self) -> str | None:
        """Address of the run on the server; None if it is not online."""
        return None if self._run is None or self.mode != "online" else self._run.url

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars; see `Tracker.log`."""
        self._written = True
        self._safely(lambda: self._run.log({k: float(v) for k, v in values.items()}, step=step))

    def image(self, step: int, name: str, picture: Picture, caption: str = "") -> None:
        """Record a picture; see `Tracker.image`.

        Raises:
            ValueError: If the picture is not uint8 `[H, W, 3]`.
        """
        check_picture(picture)
        self._safely(
            lambda: self._run.log(
                {name: self._wandb.Image(picture, caption=caption or None)}, step=step
            )
        )

    def summary(self, values: Mapping[str, float]) -> None:
        """Record the final metrics; see `Tracker.summary`."""
        self._summary.update(values)
        self._safely(lambda: self._run.summary.update(dict(values)))

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        """Keep files with the run, as an artifact of its own; see `Tracker.artifact`."""
        self._safely(lambda: self._artifact(name, kind, files))

    def _artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        artifact = self._wandb.Artifact(f"{name}-{self.run_id}", type=kind)
        for file in files:
            artifact.add_file(str(file), name=file.name)
        self._run.log_artifact(artifact)

    def rewind(self, records: Sequence[Record]) -> None:
        """Write an offline run anew from its beginning; see `Tracker.rewind`.

        The server of W&B ignores a step that it has.
        """
        if self._run is None or self.mode != "offline":
            return
        if self._written:
            self._safely(self._restart)
        if not self._replaces:
            return
        for record in records:
            values = {k: v for k, v in record.items() if k not in ("step", "time")}
            finite = {k: math.nan if v is None else v for k, v in values.items()}
            self.log(int(record["step"] or 0), finite)

    def close(self) -> None:
        """Finish the run. Calling it twice is harmless."""
        self._safely(self._finish)
        if self._run is not None and self._warned:
            # Otherwise Python's exit, and the next run of this process, call the dead service and
            # print a traceback.
            with suppress(Exception, SystemExit):
                self._wandb.teardown()
        self._run = None

    def _finish(self) -> None:
        # Committing the last step copies its values to the summary, so the summary is written
        # afterwards.
        self._run.log({}, commit=True)
        self._run.summary.update(self._summary)
        self._run.finish()

    def _restart(self) -> None:
        run_id = self.run_id
        self._run.finish()
        self._set_aside(str(run_id))  # first: the name of a folder has a resolution of a second
        self._run = self._init(self._arguments | {"id": run_id, "resume": "allow"})
        self._name_upload()

    def _name_upload(self) -> None:
        folder = self._folder / Path(self._run.dir).parent.name
        self.upload_command = f"wandb sync {shlex.quote(str(folder))}"

    def _offline_folders(self, run_id: str) -> list[Path]:
        return sorted(self._folder.glob(f"offline-run-*-{glob.escape(run_id)}"))

    def _uploaded(self, run_id: str) -> bool:
        """Return whether `wandb sync` has marked an earlier part of the run."""
        return any(
            next(folder.glob("*.synced"), None) is not None
            for folder in self._offline_folders(run_id)
        )

    def _set_aside(self, run_id: str, but: Path | None = None) -> None:
        """Rename the folders of an offline run, but one."""
        for folder in self._offline_folders(run_id):
            if but is None or folder.resolve() != but.resolve():
                folder.rename(folder.with_name(folder.name.replace("offline", "superseded", 1)))
                self._replaces = True

    def _start(self, arguments: Mapping[str, Any]) -> Any:
        """Open the run; an online run that cannot be opened becomes an offline run."""
        if self.mode == "online":
            try:
                if self._wandb.login(prompt=False, verify=False):
                    return self._init(arguments)
                reason = "no API key: run `wandb login`"
            except Exception as error:
                reason = _describe(error)
            _logger.warning("W&B runs offline (%s); upload later: `wandb sync`", reason)
            self.mode = "offline"
        try:
            return self._init(arguments)
        except Exception as error:
            self._warn(error)
            return None

    def _init(self, arguments: Mapping[str, Any]) -> Any:
        settings = self._wandb.Settings(
            # The library's output and its capture of stdout would break the progress bar.
            silent=True,
            console="off",
            init_timeout=self._init_timeout,
            finish_timeout=FINISH_TIMEOUT,
            # A run that a failed training left open must not receive this run's records.
            reinit="finish_previous",
        )
        return self._wandb.init(mode=self.mode, settings=settings, **arguments)

    def _safely(self, call: Callable[[], object]) -> None:
        if self._run is None:
            return
        try:
            call()
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("W&B failed, training continues: %s", _describe(error))


def _import_wandb(mode: WandbMode) -> Any:
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise ConfigError(
            f"track.wandb is {mode!r}, but the package wandb cannot be imported ({error}): "
            "pip install 'ibc-pyg[wandb]', or set track.wandb to 'disabled'"
        ) from error


def _describe(error: Exception) -> str:
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error) else name
