"""Export of the embedding network of a run to ONNX, for programs without torch."""

from __future__ import annotations

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.errors import ConfigError, RunError, printable, reason
from ibc_pyg.export.descriptor import descriptor_of, example_of, preprocessing
from ibc_pyg.export.golden import Network, check_run
from ibc_pyg.files import write_atomically
from ibc_pyg.inference.trained import Trained

OPSET = 18


def export_onnx(trained: Trained, path: Path) -> float | None:
    """Write the embedding network of a run as ONNX: `pixels` to `descriptor`, any batch size.

    The metadata entry `ibc_pyg` of the file is JSON with the preprocessing that the caller must
    do, as `preprocessing` returns it: sizes, interpolation, antialiasing, crop and channels.

    Args:
        trained: The run.
        path: The file, written if the network agrees with the run.

    Returns:
        Largest difference of a coordinate to the run; None if onnxruntime is missing.

    Raises:
        ConfigError: If the package onnx is missing.
        RunError: If the network cannot be exported, it differs by more than the tolerance, or the
            file cannot be written.
    """
    onnx = _import_onnx()
    module, example = descriptor_of(trained), example_of(trained)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                input_names=["pixels"],
                output_names=["descriptor"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:
        origin: BaseException = error
        while origin.__cause__ is not None:
            origin = origin.__cause__
        raise RunError(
            f"{printable(trained.run.path)} cannot be exported: {reason(origin)}"
        ) from error
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "ibc_pyg", json.dumps(preprocessing(trained))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    worst = None if find_spec("onnxruntime") is None else check_run(trained, onnx_network(content))
    write_atomically(path, content)
    return worst


def onnx_network(source: Path | bytes) -> Network:
    """Return an ONNX file, or its content, as a function from pixels to descriptors, on the CPU.

    Raises:
        ConfigError: If onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("this needs the package onnxruntime: pip install onnxruntime") from error
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])

    def network(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = session.run(["descriptor"], {"pixels": pixels})[0]
        return found

    return network


def _import_onnx() -> ModuleType:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError('export needs the package onnx: pip install "ibc-pyg[onnx]"') from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    module: ModuleType = onnx
    return module
