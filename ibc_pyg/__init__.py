"""Image embeddings for classes never seen in training, by message passing within the batch.

`ibc_pyg.train` trains an experiment, `ibc_pyg.load` opens what it made, `Embedder.embed` turns
pictures into vectors, `ibc_pyg.Index` searches among them, and `ibc_pyg.evaluate` scores them.
Everything is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibc_pyg import nn
    from ibc_pyg.api import TrainedRun, evaluate, load, train
    from ibc_pyg.inference.embedder import Embedder
    from ibc_pyg.metrics import clustering_metrics, retrieval_metrics
    from ibc_pyg.retrieval.index import Index

__version__ = "0.1.0"

__all__ = [
    "Embedder",
    "Index",
    "TrainedRun",
    "clustering_metrics",
    "evaluate",
    "load",
    "nn",
    "retrieval_metrics",
    "train",
]

_MODULES = {
    "Embedder": "ibc_pyg.inference.embedder",
    "Index": "ibc_pyg.retrieval.index",
    "TrainedRun": "ibc_pyg.api",
    "clustering_metrics": "ibc_pyg.metrics",
    "evaluate": "ibc_pyg.api",
    "load": "ibc_pyg.api",
    "retrieval_metrics": "ibc_pyg.metrics",
    "train": "ibc_pyg.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name == "nn":
        return importlib.import_module("ibc_pyg.nn")
    if name not in _MODULES:
        raise AttributeError(f"module 'ibc_pyg' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
