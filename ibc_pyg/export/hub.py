"""Published folder of a run: weights, preprocessing, golden pictures, card, exported forms."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ibc_pyg.errors import ConfigError, RunError, printable, shown
from ibc_pyg.export.card import CardExtras, model_card
from ibc_pyg.export.descriptor import descriptor_of, preprocessing
from ibc_pyg.export.golden import (
    Network,
    check_parity,
    describe_pictures,
    network_of,
    pillow_pixels,
    torch_pixels,
    write_pictures,
)
from ibc_pyg.export.int8 import Int8, quantise, retrieval_of
from ibc_pyg.export.onnx import export_onnx, onnx_network
from ibc_pyg.export.swap import new_folder
from ibc_pyg.export.timm_folder import export_timm, why_not_timm
from ibc_pyg.files import make_folder, write_atomically, write_json
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.published import (
    CONFIG,
    WEIGHTS,
    PublishedConfig,
    is_published,
    is_published_backbone,
    load_published,
)
from ibc_pyg.inference.trained import Trained
from ibc_pyg.nn.weights import weights_hash
from ibc_pyg.refinement.learned.files import load_refiner
from ibc_pyg.runs.run_folder import REFINER

FORMS = ("onnx", "timm")
"""Optional parts of a folder."""
_ONNX = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class PublishedFolder:
    """Result of a publication.

    Attributes:
        path: The folder.
        parity: What was measured, by form: the largest difference, and scores of int8.
        notes: Forms that were left out, with the reason.
    """

    path: Path
    parity: dict[str, Any]
    notes: dict[str, str]


def publish(
    trained: Trained,
    path: Path,
    *,
    forms: Collection[str] = FORMS,
    int8: Int8 | None = None,
    extras: CardExtras | None = None,
) -> PublishedFolder:
    """Write the published folder of a run; an older one is replaced in one step.

    Args:
        trained: The run.
        path: The folder; missing, empty or a published one.
        forms: Optional parts; a run that has no equal network in timm is without that part.
        int8: Also write onnx/model_int8.onnx and score it beside float32 on the test pictures.
        extras: Licence and thresholds for the card.

    Raises:
        UserError: If the backbone is code of the user, an exported form differs from the model by
            more than the tolerance, or a file cannot be written.
    """
    name = trained.config.model.backbone
    if not is_published_backbone(name):
        raise RunError(
            f"{printable(trained.run.path)} cannot be published: its backbone {shown(name)} is "
            "code of yours, which a folder does not carry"
        )
    spec, module = preprocessing(trained), descriptor_of(trained)
    parity: dict[str, Any] = {}
    notes: dict[str, str] = {}
    with new_folder(path, is_own=is_published) as draft:
        stored = _write_model(trained, draft)
        write_json(draft / "preprocess.json", spec)
        pictures = write_pictures(draft / "golden")
        embedder = Embedder.from_pretrained(draft).to("cpu")
        golden = describe_pictures(embedder, pictures)
        pixels = pillow_pixels(pictures, spec)
        parity["torch"] = {
            "difference": check_parity(network_of(module), embedder, pictures, pixels),
            "grey levels": float(np.abs(pixels - torch_pixels(embedder, pictures)).max()),
        }
        if "onnx" in forms:
            _write_onnx(trained, draft / "onnx", int8, parity, notes)
        if "timm" in forms:
            if (problem := why_not_timm(trained)) is not None:
                notes["timm"] = problem
            else:
                folder = export_timm(trained, draft / "timm")
                worst = check_parity(_timm(folder, spec), embedder, pictures, pixels)
                parity["timm"] = {"difference": worst}
        if (trained.run.path / REFINER).is_file():
            load_refiner(trained.run.path, weights=weights_hash(trained.model.backbone))
            shutil.copyfile(trained.run.path / REFINER, draft / REFINER)
        write_json(draft / "golden" / "golden.json", {**golden, "parity": parity})
        card = model_card(trained, stored, parity, notes, extras or CardExtras())
        write_atomically(draft / "README.md", card.encode())
    return PublishedFolder(path, parity, notes)


def push_to_hub(folder: Path, name: str, *, private: bool = True) -> str:
    """Upload a published folder to the Hugging Face hub.

    Args:
        folder: The folder, which is opened first.
        name: Repository, OWNER/NAME; created if it is missing.
        private: Whether a new repository is private.

    Returns:
        Address of the commit.

    Raises:
        RunError: If the folder is not a valid one.
        ConfigError: If huggingface_hub is missing, or the hub refuses.
    """
    load_published(folder)
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise ConfigError('this needs huggingface-hub: pip install "ibc-pyg[hub]"') from error
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Add the model")
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ConfigError(f"the hub refuses {shown(name)}: {shown(str(error), 200)}") from error
    return str(done)


def _write_model(trained: Trained, folder: Path) -> PublishedConfig:
    state = trained.model.backbone.state_dict()
    weights = {key: value.cpu().contiguous() for key, value in state.items()}
    content = save(weights, metadata={"format": "pt"})
    write_atomically(folder / WEIGHTS, content)
    config, t, record = trained.config.model, trained.transform, trained.record
    stored = PublishedConfig(
        backbone=config.backbone,
        backbone_args=dict(config.backbone_args),
        embedding_dim=config.embedding_dim,
        image_size=t.image_size,
        resize=t.resize,
        mean=list(t.mean),
        std=list(t.std),
        image_shape=None if trained.image_shape is None else list(trained.image_shape),
        class_names=None if record is None else list(record.class_names),
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )
    write_json(folder / CONFIG, stored.to_dict())
    return stored


def _write_onnx(
    trained: Trained,
    folder: Path,
    int8: Int8 | None,
    parity: dict[str, Any],
    notes: dict[str, str],
) -> None:
    """Write the folder onnx/, and what was measured to `parity`."""
    if int8 is None and (missing := [each for each in _ONNX if find_spec(each) is None]):
        notes["onnx"] = f"{missing[0]} was not installed"
        return
    make_folder(folder)
    file = folder / "model.onnx"
    parity["onnx"] = {"difference": export_onnx(trained, file)}
    if int8 is not None:
        small = quantise(trained, file, file.with_name("model_int8.onnx"), int8)
        parity["onnx"] |= retrieval_of(trained, onnx_network(file))
        parity[f"onnx int8 ({int8})"] = retrieval_of(trained, onnx_network(small))


def _timm(folder: Path, spec: dict[str, Any]) -> Network:
    """Return the folder of timm as a function from pixels to descriptors."""
    import timm

    network = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True).eval()
    mean, std = (torch.tensor(spec[key]).view(1, -1, 1, 1) for key in ("mean", "std"))

    def describe(pixels: Tensor) -> Tensor:
        return torch.nn.functional.normalize(network((pixels / 255 - mean) / std), dim=-1)  # [B, D]

    return network_of(describe)
