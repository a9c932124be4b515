"""Print the lowest version of every dependency in pyproject.toml, as pins for pip.

    python .ci/minimum_versions.py cpu timm > minimum.txt

Arguments: the extras whose dependencies are included.
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads(
    (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]


def pin(text: str) -> str:
    """Return `name[extras]==VERSION` of the lower bound of a requirement."""
    requirement = Requirement(text)
    (lowest,) = [bound.version for bound in requirement.specifier if bound.operator == ">="]
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={lowest}"


def main(extras: list[str]) -> None:
    """Print the pins of the dependencies and of some extras, each once."""
    found = list(PROJECT["dependencies"])
    for extra in extras:
        found += PROJECT["optional-dependencies"][extra]
    # An extra that names others of this package has no bound of its own.
    sys.stdout.writelines(
        f"{pin(text)}\n" for text in dict.fromkeys(found) if not text.startswith("ibc-pyg[")
    )


if __name__ == "__main__":
    main(sys.argv[1:])
