"""Data sets by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from ibc_pyg.errors import ConfigError, DatasetError, check_arguments, did_you_mean, printable
from ibc_pyg.plugins import entry_point, find_plug, is_reference

if TYPE_CHECKING:
    from ibc_pyg.data.table import ImageTable


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set, available without loading it.

    Attributes:
        name: Name on the command line.
        description: One line of text.
        module: Module of its loader, imported when first needed.
        function: Name of the loader in that module.
        needs_root: Whether its files are in a folder that the user names.
    """

    name: str
    description: str
    module: str
    function: str
    needs_root: bool = True

    def loader(self) -> Callable[..., ImageTable]:
        """Import and return the loader."""
        return cast(
            "Callable[..., ImageTable]",
            getattr(importlib.import_module(self.module), self.function),
        )


def _info(name: str, description: str, module: str | None = None) -> DatasetInfo:
    return DatasetInfo(name, description, f"ibc_pyg.data.sets.{module or name}", f"{name}_table")


DATASETS: MappingProxyType[str, DatasetInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            DatasetInfo(
                "glyphs",
                "characters in the fonts shipped with matplotlib; drawn on first use",
                "ibc_pyg.data.glyphs.table",
                "glyphs_table",
                needs_root=False,
            ),
            _info("cub", "CUB-200-2011: 11,788 photographs of 200 bird species"),
            _info("cars", "Cars196: 16,185 photographs of 196 car models"),
            _info("sop", "Stanford Online Products: 120,053 photographs of 22,634 products"),
            _info(
                "inshop",
                "In-Shop Clothes: 52,712 photographs of 7,982 clothing items",
            ),
            _info("omniglot", "Omniglot, small sets: 4,840 drawings of 242 characters"),
            _info("grocery_store", "GroceryStoreDataset: 5,421 photographs of 81 grocery products"),
            DatasetInfo(
                "digits",
                "scikit-learn's digits: 1,797 drawings of 8 x 8 pixels, for unit tests",
                "ibc_pyg.data.sets.digits",
                "digits_table",
                needs_root=False,
            ),
            _info("folder", "your images: one folder per class, optionally below train/ and test/"),
            _info("csv", "your images: a CSV file path,label[,split]", "csv_list"),
        )
    }
)


def dataset_info(name: str) -> DatasetInfo:
    """Return the entry of a data set.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name in DATASETS:
        return DATASETS[name]
    raise ConfigError(f"data.name: unknown data set {name!r}; {did_you_mean(name, DATASETS)}")


def needs_root(name: str) -> bool:
    """Return whether the files of a data set are in a folder that `data.root` has to name.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in DATASETS and (is_reference(name) or entry_point(name) is not None):
        return False
    return dataset_info(name).needs_root


def load_table(
    name: str, root: Path | str | None = None, *, allow_partial: bool = False, **options: Any
) -> ImageTable:
    """Load the table of a data set; published sets are checked against their published sizes.

    Args:
        name: A key of `DATASETS`, or a reference to code of the user, which is imported.
        root: Its folder (for `csv` also the file); None for sets without files.
        allow_partial: Whether an incomplete set may be used.
        **options: Further arguments of that data set's loader, such as `seed`.

    Raises:
        ConfigError: If the name or an option is unknown, or `root` is missing.
        DatasetError: If files are missing or damaged.
    """
    if name not in DATASETS and (plug := find_plug("data set", name)) is not None:
        from ibc_pyg.data.plugged import plugged_table

        folder = None if root is None else Path(root).expanduser()
        return plugged_table(plug, folder, allow_partial=allow_partial, options=options)
    info = dataset_info(name)
    loader = info.loader()
    check_arguments(
        loader, options, what=f"data.options: data set {name}", reserved=("root", "allow_partial")
    )
    if not info.needs_root:
        return loader(**options)
    if root is None:
        raise ConfigError(f"data.root: data set {name} needs the folder of its files")
    try:
        return loader(Path(root), allow_partial=allow_partial, **options)
    except OSError as error:  # no permission, a name that is too long, ...
        where = error.filename if error.filename is not None else root
        raise DatasetError(
            f"data.root: {printable(str(where))} cannot be read: {error.strerror or error}"
        ) from error
