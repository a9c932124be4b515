"""Conversion of released checkpoints to run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ibc_pyg.builders.model import build_model
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.errors import ConfigError
from ibc_pyg.export.official import (
    OfficialEncoder,
    OfficialMPN,
    encoder_from_state_dict,
    load_state_dict_file,
    mpn_from_state_dict,
)
from ibc_pyg.files import write_atomically
from ibc_pyg.nn.weights import fit_weights
from ibc_pyg.runs.run_folder import RunFolder

RELEASED = {100: "cub", 98: "cars", 11_318: "sop", 3_997: "inshop"}
"""Data set by the number of its training classes, which is that of a released classifier."""


def import_official(
    encoder: Path,
    mpn: Path | None,
    heads: int | None,
    out: Path,
    *,
    last_stride: bool = False,
    fields: Sequence[str] = (),
) -> RunFolder:
    """Create a run folder from a released encoder and, optionally, message passing network.

    Args:
        encoder: Checkpoint of the backbone, with the released key names.
        mpn: Checkpoint of the message passing network; None for a run without it.
        heads: Number of attention heads of `mpn`, which its weights do not determine.
        out: The new run folder.
        last_stride: Whether the encoder was trained with stride 1 in its last stage.
        fields: Further options, such as `--data.root`, which evaluation needs. Without
            `--data.name`, the data set is that of the benchmarks with as many training classes
            as the classifier of the encoder has.

    Raises:
        RunError: If a file does not fit, naming its first such key; or `out` holds a run.
        ConfigError: If `heads` is missing or does not divide the width, or the data set is
            neither given nor one of the benchmarks.
    """
    RunFolder(out).check_free()
    if (mpn is None) != (heads is None):
        raise ConfigError("--mpn and --heads are needed together; give both or neither")
    network = encoder_from_state_dict(load_state_dict_file(encoder), last_stride)
    options = _encoder_options(network)
    weights = _encoder_weights(network)
    if mpn is not None and heads is not None:
        refiner = mpn_from_state_dict(load_state_dict_file(mpn), heads)
        if refiner.layout.channels != network.embed_dim:
            raise ConfigError(
                f"{mpn} takes embeddings of width {refiner.layout.channels}, but {encoder} "
                f"outputs width {network.embed_dim}; give checkpoints of the same model"
            )
        options |= _mpn_options(refiner, heads)
        weights |= _mpn_weights(refiner)
    if not any(word.partition("=")[0] == "--data.name" for word in fields):
        if network.num_classes not in RELEASED:
            raise ConfigError(
                f"{encoder} has {network.num_classes} classes, as none of the benchmarks in "
                f"training; name its data set: --data.name NAME"
            )
        options["data.name"] = RELEASED[network.num_classes]
    config = parse_config(None, [*_as_arguments(options), *fields])
    _check(config, network, weights, encoder)
    run = RunFolder.create(out, config_yaml=config_to_yaml(config))
    write_atomically(run.weights, save({k: v.contiguous() for k, v in weights.items()}))
    return run


def _encoder_options(network: OfficialEncoder) -> dict[str, Any]:
    return {
        # The released weights were chosen on the test classes.
        "select": "test",
        "data.transform": "released",
        "model.backbone": network.architecture,
        "model.backbone_args.pooling": "max",
        "model.backbone_args.last_stride": 1 if network.last_stride else 2,
        "model.embedding_dim": network.embed_dim,
        "model.auxiliary_neck": hasattr(network.head, "norm"),
        "model.steps": 0,
        "model.heads": 1,
    }


def _mpn_options(refiner: OfficialMPN, heads: int) -> dict[str, Any]:
    layout = refiner.layout
    return {
        "model.steps": layout.steps,
        "model.heads": heads,
        "model.node_neck": layout.neck,
        "model.mpn_args.reduction": layout.reduction,
        "model.mpn_args.mlp": layout.mlp,
        "model.mpn_args.norm_conv": layout.norm_conv,
        "model.mpn_args.norm_mlp": layout.norm_mlp,
        "model.mpn_args.every_step": layout.every_step,
        "model.mpn_args.concatenate": layout.concatenate,
    }


def _encoder_weights(network: OfficialEncoder) -> dict[str, Tensor]:
    weights = {}
    for key, value in network.state_dict().items():
        part, _, rest = key.partition(".")
        place = {
            "backbone": "backbone.body",
            "embedding": "backbone.embedding",
            "head": "auxiliary_head",
        }[part]
        weights[f"{place}.{rest}"] = value
    if "backbone.embedding.weight" not in weights:
        # Without a linear layer the embedding is the pooled map: the identity, exactly.
        weights["backbone.embedding.weight"] = torch.eye(network.embed_dim)
        weights["backbone.embedding.bias"] = torch.zeros(network.embed_dim)
    return weights


def _mpn_weights(refiner: OfficialMPN) -> dict[str, Tensor]:
    return {
        key if key.startswith("mpn.") else f"node_{key}": value
        for key, value in refiner.state_dict().items()
    }


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    return [
        word
        for field, value in options.items()
        for word in (f"--{field}", str(value).lower() if isinstance(value, bool) else str(value))
    ]


def _check(
    config: Config, network: OfficialEncoder, weights: Mapping[str, Tensor], path: Path
) -> None:
    """Load the weights once, so that the written run can be opened."""
    model = build_model(config.model, num_classes=network.num_classes, channels=3)
    fit_weights(model, weights, path)
