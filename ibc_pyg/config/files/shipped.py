"""Experiments that come with the package, found from any folder by their names."""

from __future__ import annotations

from pathlib import Path


def shipped_folder() -> Path:
    """Return the folder of the experiments: of the wheel, or of the checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def shipped(path: Path) -> Path | None:
    """Return a shipped experiment.

    Args:
        path: Its name, such as `glyphs` or `baselines/ce`, with or without `experiments/` before
            and `.yaml` after it.

    Returns:
        Its file; None if there is none of that name.
    """
    name = _within(path)
    if path.is_absolute() or ".." in path.parts or not name.name:
        return None
    try:
        found = shipped_folder() / name.with_name(f"{name.name.removesuffix('.yaml')}.yaml")
        return found if found.is_file() else None
    except OSError:  # the name is too long
        return None


def shipped_matches(pattern: Path) -> list[Path]:
    """Return the shipped experiments that a pattern such as `baselines/*` matches, sorted."""
    if pattern.is_absolute() or ".." in pattern.parts:
        return []
    inner = _within(pattern)
    name = inner.name.removesuffix(".yaml")
    return sorted((shipped_folder() / inner.parent).glob(f"{name}.yaml"))


def shipped_names() -> list[str]:
    """Return the names of all shipped experiments, overlays and sweeps, sorted."""
    folder = shipped_folder()
    names = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(
        (name.as_posix() for name in names if name.parts[0] != "results"),
        key=lambda name: (name.count("/") > 0, name),
    )


def _within(path: Path) -> Path:
    return Path(*path.parts[1:]) if path.parts[:1] == ("experiments",) else path
