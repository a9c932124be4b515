"""Made-up results of a comparison."""

from dataclasses import dataclass

HOSTILE = "$x_{ |`<b> \u202e\x1b[31m\udce9\n"
"""A name of which every format would take a part for markup."""


@dataclass(frozen=True)
class Setting:
    """The setting of a row."""

    name: str


def summaries(r1, cost=None):
    """Return the summary of each seed."""
    common = {"NMI": 0.8, "train_seconds": 10.0} | ({} if cost is None else {"cost": cost})
    return [
        {"R@1": value, "MAP@R": value / 2, "seed": seed} | common for seed, value in enumerate(r1)
    ]
