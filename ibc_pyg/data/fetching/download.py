"""Download of data sets, and instructions for those that cannot be downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ibc_pyg.data.fetching.archive import Progress, unpack
from ibc_pyg.data.fetching.fetch import Remote, fetch
from ibc_pyg.data.registry import dataset_info, load_table
from ibc_pyg.data.sets.grocery_store import COMMIT
from ibc_pyg.errors import DatasetError, printable

TFDS = "tensorflow/datasets, url_checksums/"

REMOTES: Mapping[str, tuple[Remote, ...]] = MappingProxyType(
    {
        "cub": (
            Remote(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "CUB_200_2011.tgz",
                size=1_150_585_339,
                digest="sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                source=f"{TFDS}caltech_birds2011.txt",
                unpacked=1_300_000_000,
            ),
        ),
        "sop": (
            Remote(
                "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                "Stanford_Online_Products.zip",
                size=3_083_860_082,
                digest="sha256:b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
                source=f"{TFDS}stanford_online_products.txt",
                unpacked=3_200_000_000,
            ),
        ),
        "omniglot": tuple(
            Remote(
                f"https://github.com/brendenlake/omniglot/raw/master/python/{name}",
                name,
                size=size,
                digest=f"sha256:{digest}",
                source=f"{TFDS}omniglot.txt",
            )
            for name, size, digest in (
                (
                    "images_background_small1.zip",
                    1_319_022,
                    "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
                ),
                (
                    "images_background_small2.zip",
                    1_580_917,
                    "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
                ),
            )
        ),
        "grocery_store": (
            Remote(
                # No digest is published; GitHub serves a commit by its hash.
                f"https://github.com/marcusklasson/GroceryStoreDataset/archive/{COMMIT}.zip",
                f"GroceryStoreDataset-{COMMIT[:12]}.zip",
                unpacked=200_000_000,
            ),
        ),
    }
)

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cars": (
            "Cars196 has no official address: https://ai.stanford.edu/~jkrause/cars/ is offline",
            "(pytorch/vision issue 7545). Copies are on Kaggle, such as",
            "https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset; the labels of",
            "the test images, cars_test_annos_withlabels.mat, are linked in that issue.",
            "SHA-256 of the original files (tensorflow/datasets, url_checksums/cars196.txt):",
            "  512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288  cars_train.tgz",
            "  bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243  cars_test.tgz",
            "  b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd  car_devkit.tgz",
            "  790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05"
            "  cars_test_annos_withlabels.mat",
            "The folder must contain one of these layouts:",
            "  cars_annos.mat  car_ims/000001.jpg ...",
            "  devkit/  cars_train/00001.jpg ...  cars_test/00001.jpg ..."
            "  cars_test_annos_withlabels.mat",
            "  images/<class>/*.jpg",
        ),
        "inshop": (
            "In-Shop Clothes is available on request: follow the instructions on",
            "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html and sign the",
            "agreement (research only), then unpack Img/img.zip. The folder must contain:",
            "  Eval/list_eval_partition.txt (or in Anno/)",
            "  img/WOMEN/... or Img/img/WOMEN/... (or img_highres/ in place of img/)",
        ),
        "folder": ("folder reads your images: one folder per class.",),
        "csv": ("csv reads your images: images.csv with the columns path,label[,split].",),
        "glyphs": ("glyphs needs no download: it is drawn with matplotlib's fonts.",),
        "digits": ("digits needs no download: it comes with scikit-learn.",),
    }
)


@dataclass(frozen=True)
class DownloadReport:
    """Result of a download.

    Attributes:
        name: Name of the data set.
        root: Its folder.
        fetched: Files that were downloaded, or existed and were checked.
        complete: Whether the data set is complete.
        text: Lines of text for the user.
    """

    name: str
    root: Path
    fetched: tuple[Path, ...]
    complete: bool
    text: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return list(self.text)


def download(
    name: str,
    root: Path | str,
    *,
    progress: Progress | None = None,
    remotes: Mapping[str, tuple[Remote, ...]] = REMOTES,
) -> DownloadReport:
    """Download and unpack a data set, or return instructions.

    A complete data set is not downloaded again; an interrupted transfer is resumed; archives are
    kept beside the unpacked folder.

    Args:
        name: A key of `DATASETS`.
        root: Destination folder.
        progress: Called with a label, the bytes done and the total bytes (None if unknown).
        remotes: The files of each data set.

    Raises:
        ConfigError: If the data set is unknown.
        DatasetError: If the files cannot be downloaded, differ from the published ones, or do not
            unpack to the complete set.
    """
    dataset_info(name)
    root = Path(root).expanduser()
    if name not in remotes:
        return DownloadReport(name, root, (), False, INSTRUCTIONS[name])
    if _is_complete(name, root):
        text = (f"{name}: already complete in {printable(root)}",)
        return DownloadReport(name, root, (), True, text)
    fetched = []
    for remote in remotes[name]:
        file = fetch(remote, root, progress=progress)
        if remote.unpacked:
            unpack(file, root, progress=progress)
        fetched.append(file)
    sizes = load_table(name, root).sizes()
    lines = [f"{name}: {sizes}, in {printable(root)}"]
    lines += [
        f"{file.name}: {remote.digest or 'none published; that of this file is kept'}"
        for file, remote in zip(fetched, remotes[name], strict=True)
    ]
    if any(remote.unpacked for remote in remotes[name]):
        lines.append("The archive was unpacked and can be deleted.")
    return DownloadReport(name, root, tuple(fetched), True, tuple(lines))


def _is_complete(name: str, root: Path) -> bool:
    try:
        load_table(name, root)
    except DatasetError:
        return False
    return True
