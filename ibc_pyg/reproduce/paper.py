"""Published figures of the four benchmarks, and estimates of what a run takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ibc_pyg.data.sets import cars, cub, inshop, sop
from ibc_pyg.data.table import SplitSizes


@dataclass(frozen=True)
class Benchmark:
    """One of the paper's data sets.

    Attributes:
        title: Name in tables.
        sizes: Classes and images of its published split.
        figures: Published values of the paper, in percent, by the name of the metric.
        hours: Estimated hours of one run, at 400 images per second; not measured.
        gigabytes: Estimated GPU memory; not measured.
    """

    title: str
    sizes: SplitSizes
    figures: Mapping[str, float]
    hours: float
    gigabytes: int

    @property
    def images(self) -> int:
        """Number of all images."""
        return self.sizes.train_images + self.sizes.test_images


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "cub": Benchmark(
            "CUB-200-2011",
            cub.SIZES,
            {"R@1": 70.3, "R@2": 80.3, "R@4": 87.6, "R@8": 92.7, "NMI": 73.2},
            1 / 3,
            6,
        ),
        "cars": Benchmark(
            "Cars196",
            cars.SIZES,
            {"R@1": 88.1, "R@2": 93.3, "R@4": 96.2, "R@8": 98.2, "NMI": 74.8},
            5 / 12,
            8,
        ),
        "sop": Benchmark(
            "Stanford Online Products",
            sop.SIZES,
            {"R@1": 81.4, "R@10": 91.3, "R@100": 95.9, "NMI": 92.6},
            3.5,
            10,
        ),
        "inshop": Benchmark(
            "In-Shop", inshop.SIZES, {"R@1": 92.8, "R@10": 98.5, "R@20": 99.1, "R@40": 99.2}, 1.3, 7
        ),
    }
)
"""By the name of the data set; arXiv 2102.07753 and the README of the released code."""
