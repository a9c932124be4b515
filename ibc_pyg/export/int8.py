"""8-bit ONNX networks, with their retrieval beside that of float32."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.table import ImageTable, Rows
from ibc_pyg.errors import ConfigError, RunError, first_line
from ibc_pyg.export.golden import Network
from ibc_pyg.files import write_atomically
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import Trained
from ibc_pyg.metrics import retrieval_metrics

Int8 = Literal["dynamic", "static"]
_CALIBRATION = 64
_BATCH = 32


def quantise(trained: Trained, source: Path, path: Path, kind: Int8) -> Path:
    """Write an 8-bit copy of an exported network.

    Args:
        trained: The run; "static" calibrates with its training pictures, which must be there.
        source: The float32 network.
        path: The file.
        kind: "dynamic" scales activations as they come, "static" by the calibration.

    Raises:
        ConfigError: If onnxruntime is missing.
        UserError: If pictures are missing, or the network cannot be quantised.
    """
    try:
        from onnxruntime import quantization as q
    except ImportError as error:
        raise ConfigError("int8 needs the package onnxruntime: pip install onnxruntime") from error
    logging.getLogger().addFilter(_no_advice)
    try:
        with tempfile.TemporaryDirectory() as folder:
            made, ready = Path(folder) / "int8.onnx", Path(folder) / "ready.onnx"
            q.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            if kind == "dynamic":
                q.quantize_dynamic(ready, made, weight_type=q.QuantType.QInt8)
            else:
                data = EvalSet(trained).data
                rng = np.random.default_rng(trained.config.train.seed)
                rows = rng.permutation(data.splits.train)[:_CALIBRATION]
                batches = _pixels(trained, data.table, rows, 1)

                class Reader(q.CalibrationDataReader):  # type: ignore[misc]
                    def get_next(self) -> dict[str, Any] | None:
                        batch = next(batches, None)
                        return None if batch is None else {"pixels": batch}

                q.quantize_static(ready, made, Reader(), per_channel=True)
            write_atomically(path, made.read_bytes())
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the network cannot be quantised: {first_line(error)}") from error
    finally:
        logging.getLogger().removeFilter(_no_advice)
    return path


def retrieval_of(trained: Trained, network: Network) -> dict[str, float]:
    """Return R@1 and MAP@R of a network on the test pictures of a run, fractions in [0, 1].

    Raises:
        UserError: If there are no test pictures, or some are missing.
    """
    data = EvalSet(trained).data
    parts, labels = data.splits.tested(), data.table.labels

    def describe(rows: Rows) -> npt.NDArray[np.float32]:
        batches = _pixels(trained, data.table, rows, _BATCH)
        return np.concatenate([network(batch) for batch in batches])  # [n, D]

    queries = describe(parts.queries)
    gallery = None if parts.gallery is None else describe(parts.gallery)
    scores = retrieval_metrics(
        queries,
        labels[parts.queries],
        gallery=gallery,
        gallery_labels=None if parts.gallery is None else labels[parts.gallery],
        ks=(1,),
    )
    return {name: scores[name] for name in ("R@1", "MAP@R")}


def _pixels(
    trained: Trained, table: ImageTable, rows: Rows, size: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield pixels `[B, C, S, S]` of pictures of the data set."""
    import torch

    for start in range(0, len(rows), size):
        images = [
            torch.from_numpy(table.images[row]).permute(2, 0, 1)  # [C, H, W]
            if table.images is not None
            else decode_image(Path(table.root or "") / table.paths[row])
            for row in rows[start : start + size]
        ]
        yield trained.transform.fit(images).permute(0, 3, 1, 2).float().contiguous().numpy()


def _no_advice(record: logging.LogRecord) -> bool:
    """Drop the advice of the quantiser about its own preprocessing."""
    return "pre-processing" not in record.getMessage()
