"""Construction of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from ibc_pyg.builders.arguments import argument_errors
from ibc_pyg.builders.graph import build_graph
from ibc_pyg.config import ModelConfig
from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.backbones import make_backbone
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.spanning import check_spanning
from ibc_pyg.nn.sync_batch_norm import synchronise_batch_norm
from ibc_pyg.nn.weights import fit_weights


def build_model(config: ModelConfig, *, num_classes: int, channels: int) -> IntraBatchModel:
    """Build the model, with newly initialised heads.

    Args:
        config: Names and sizes.
        num_classes: Number of classes of the heads.
        channels: Colour channels of the images.

    Raises:
        ConfigError: If a name or an argument is unknown.
    """
    width = config.embedding_dim
    with argument_errors("model.backbone_args", config.backbone, config.backbone_args):
        backbone = make_backbone(
            config.backbone,
            width,
            in_channels=channels,
            weights=config.weights,
            **config.backbone_args,
        )
    auxiliary_head = _head(config.auxiliary_neck, width, num_classes)
    if config.steps == 0:
        return IntraBatchModel(
            backbone, None, [], auxiliary_head, freeze_batch_norm=config.freeze_batch_norm
        )
    mpn = _mpn(config, width)
    node_heads = [
        _head(config.node_neck, mpn.out_channels, num_classes) for _ in range(mpn.num_outputs)
    ]
    return IntraBatchModel(
        backbone,
        mpn,
        node_heads,
        auxiliary_head,
        build_graph(config),
        freeze_batch_norm=config.freeze_batch_norm,
    )


def _mpn(config: ModelConfig, width: int) -> MPN:
    try:
        with argument_errors("model.mpn_args", "the MPN", config.mpn_args):
            return MPN(
                width,
                config.steps,
                heads=config.heads,
                conv=config.conv,
                conv_args=config.conv_args,
                null_node=config.null_node,
                self_loops=config.self_loops,
                fuse=config.fuse,
                # The training loop checks the loss instead.
                check_finite=False,
                **config.mpn_args,
            )
    except ConfigError as error:
        # `make_conv` names its own parameters, conv and conv_args.
        if str(error).startswith("conv"):
            raise ConfigError(f"model.{error}") from error
        raise


def rebuild_model(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    path: Path,
    *,
    num_classes: int,
    channels: int,
) -> IntraBatchModel:
    """Build a trained model from its weights.

    Args:
        config: Names and sizes; the file `config.weights` is not needed.
        weights: Weights of the whole model.
        path: File of the weights, for messages.
        num_classes: Number of classes of the heads.
        channels: Colour channels of the images.

    Raises:
        UserError: If the weights do not fit.
    """
    bare = replace(config, weights=None)
    model = build_model(bare, num_classes=num_classes, channels=channels)
    fit_weights(model, weights, path)
    return model


def _head(neck: bool, channels: int, num_classes: int) -> nn.Module:
    return BNNeckHead(channels, num_classes) if neck else LinearHead(channels, num_classes)


def span_processes(config: ModelConfig, model: IntraBatchModel) -> IntraBatchModel:
    """Prepare a model in place for training one graph over several processes.

    Raises:
        ConfigError: If the graph layer does not support graphs over several processes.
    """
    if model.mpn is not None:
        check_spanning(model.mpn)
    if config.sync_batch_norm:
        model.backbone = synchronise_batch_norm(model.backbone)
    return model
