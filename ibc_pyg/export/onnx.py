"""Export of the embedding network of a run to ONNX, for programs without torch."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.data.transforms import PluggedTransform
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.files import write_atomically
from ibc_pyg.inference.trained import Trained

OPSET = 18


class Descriptor(nn.Module):
    """Network from pixels to descriptors: normalisation of the pixels, backbone, unit norm.

    Args:
        backbone: Maps images `[B, C, H, W]` to raw embeddings `[B, D]`.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))  # [1, C, 1, 1]
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))  # [1, C, 1, 1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels in [0, 255], float32 `[B, C, H, W]`, to unit-norm float32 `[B, D]`."""
        raw = self.backbone((pixels / 255 - self.mean) / self.std)  # [B, D]
        return F.normalize(raw, dim=-1)


def export_onnx(trained: Trained, path: Path) -> Path:
    """Write the embedding network of a run as ONNX: `pixels` to `descriptor`, any batch size.

    The metadata entry `ibc_pyg` of the file is JSON with the preprocessing that the caller must
    do: scale the shorter side to `resize`, crop the centre `image_size`, with `channels` channels.

    Args:
        trained: The run.
        path: The file.

    Raises:
        ConfigError: If the package onnx is missing.
        RunError: If the network cannot be exported, or the file cannot be written.
    """
    onnx = _import_onnx()
    transform = trained.transform
    if isinstance(transform, PluggedTransform):
        raise RunError(
            f"{trained.run.path} cannot be exported: the normalisation of {transform.plug.text} is "
            "unknown; derive it from ibc_pyg.data.transforms.Transform"
        )
    module = Descriptor(trained.model.backbone, transform.mean, transform.std).cpu().eval()
    # Two images: an example with one would fix the batch size at one.
    example = torch.zeros(2, transform.channels, transform.image_size, transform.image_size)
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
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{trained.run.path} cannot be exported: {reason}") from error
    assert program is not None
    model = program.model_proto
    preprocessing = {
        "channels": transform.channels,
        "image_size": transform.image_size,
        "resize": transform.resize,
        "data_set": trained.config.data.name,
    }
    entry = model.metadata_props.add()
    entry.key, entry.value = "ibc_pyg", json.dumps(preprocessing)
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
    return path


def _import_onnx() -> ModuleType:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError('export needs the package onnx: pip install "ibc-pyg[onnx]"') from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    module: ModuleType = onnx
    return module
