"""The model of an index: opened, and compared with the one that made the vectors."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ibc_pyg.errors import ConfigError, RunError, printable, program
from ibc_pyg.inference.embedder import Embedder, ModelSource
from ibc_pyg.inference.pretrained import load_pretrained
from ibc_pyg.inference.published import is_published
from ibc_pyg.inference.trained import load_run
from ibc_pyg.retrieval.fingerprint import Fingerprint

_logger = logging.getLogger(__name__)

Model = Embedder | str | os.PathLike[str]
"""An opened model, a run folder, a published folder, or the name of a pretrained backbone."""


def open_model(
    model: Model,
    *,
    weights: str | os.PathLike[str] | None = None,
    trust_code: bool = False,
) -> Embedder:
    """Return the embedder of a model.

    Args:
        model: See `Model`.
        weights: Local weights of a pretrained backbone.
        trust_code: As for `ibc_pyg.load`.

    Raises:
        UserError: If the model cannot be opened.
    """
    if isinstance(model, Embedder):
        return model
    folder = Path(model)
    if not folder.exists():
        return load_pretrained(os.fspath(model), None if weights is None else Path(weights))
    if weights is not None:
        raise ConfigError(
            f"--weights are those of a pretrained backbone, and {printable(folder)} has its own"
        )
    if is_published(folder):
        return Embedder.from_pretrained(folder)
    return Embedder.of(load_run(folder, trust_code=trust_code))


def reopen_model(
    given: Model | None,
    source: ModelSource | None,
    folder: Path,
    *,
    weights: str | os.PathLike[str] | None = None,
    trust_code: bool = False,
) -> Embedder:
    """Open the model that is given, or else that of an index, where it was at the build.

    Args:
        given: The model, if it is not where it was.
        source: The model, as recorded.
        folder: The index.
        weights: Local weights of a pretrained backbone that is given.
        trust_code: As for `ibc_pyg.load`.

    Raises:
        RunError: If it is not there any more.
        UserError: If it cannot be opened.
    """
    if given is not None:
        return open_model(given, weights=weights, trust_code=trust_code)
    name = printable(folder)
    if source is None:
        raise RunError(f"{name} does not know where its model is; give the model: --model MODEL")
    path = Path(source.name)
    if path.is_absolute() and not path.exists():
        raise RunError(
            f"{name} was built with the model {printable(path)}, which is missing; "
            "give its new place: --model MODEL"
        )
    return open_model(source.name, weights=source.weights, trust_code=trust_code)


def model_folder(folder: Path, given: Model | None, source: ModelSource | None) -> Path:
    """Return the folder of the model of an index: of a run, or a published one.

    Args:
        folder: The index.
        given: The model, if it was given.
        source: The model, as recorded.

    Raises:
        RunError: If it is missing, or the model has no folder.
    """
    source = given.source if isinstance(given, Embedder) else source
    name = (
        given if isinstance(given, str | os.PathLike) else None if source is None else source.name
    )
    if name is None or not Path(name).is_dir():
        shown = "a model in memory" if name is None else printable(os.fspath(name))
        raise RunError(
            f"{printable(folder)} was built with {shown}, which is not a folder with a trained "
            "refiner; give the run or the published folder: --model FOLDER"
        )
    return Path(name)


def check_same_model(folder: Path, made_by: Fingerprint, given: Fingerprint) -> None:
    """Check that a model is the one whose vectors an index holds.

    Raises:
        RunError: If it is another one; both are named.
    """
    if made_by.digest != given.digest:
        raise RunError(
            f"{printable(folder)} was made by {made_by}, not by {given}; use that model, or embed "
            f"all pictures again: {program()} index sync INDEX --model MODEL --reembed"
        )
    changed = sorted(
        f"{name} {then} -> {given.versions.get(name, 'none')}"
        for name, then in made_by.versions.items()
        if given.versions.get(name) != then
    )
    if changed:
        _logger.warning(
            "%s was made with other versions (%s); similarities may differ by rounding errors",
            printable(folder),
            ", ".join(changed),
        )
