"""Trial passes of backbone and graph before training."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
import torch_geometric.nn
from torch import Tensor

from ibc_pyg.builders.arguments import argument_errors
from ibc_pyg.config import ModelConfig
from ibc_pyg.data.transforms import Transform
from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.nn.backbones import backbone_names
from ibc_pyg.nn.conv.user_conv import layer_plug
from ibc_pyg.nn.model import IntraBatchModel, complete_batch
from ibc_pyg.plugins import Plug, find_plug
from ibc_pyg.plugins.plug import described


def check_backbone(config: ModelConfig, model: IntraBatchModel, transform: Transform) -> None:
    """Check the backbone with one forward pass.

    Args:
        config: Name of the backbone.
        model: The model, which is not changed.
        transform: Preprocessing, which determines the image size.

    Raises:
        ConfigError: If the backbone does not accept images of this size.
    """
    size = transform.image_size
    known = config.backbone in backbone_names()
    plug = None if known else find_plug("backbone", config.backbone)
    images = torch.zeros(1 if plug is None else 2, transform.channels, size, size)  # [N, C, S, S]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), nullcontext() if plug is None else plug.errors():
            embeddings = model.backbone(images)  # [N, D]
    except RuntimeError as error:
        raise ConfigError(
            f"model.backbone: {config.backbone} does not accept images of {size} x {size}: "
            f"{first_line(error)}; set data.transform_args.image_size"
        ) from error
    finally:
        model.train(training)
    if plug is not None:
        check_output(plug, embeddings, (len(images), config.embedding_dim))


def check_output(plug: Plug, output: object, shape: tuple[int, ...]) -> None:
    """Check the output of a user's module in a trial pass.

    Raises:
        ConfigError: If it is not a finite float tensor of this shape.
    """
    expected = f"float embeddings {list(shape)}"
    if not isinstance(output, Tensor) or output.shape != shape or not output.is_floating_point():
        plug.refuse(expected, described(output))
    if not bool(output.isfinite().all()):
        plug.refuse(f"finite {expected}", "NaN or infinite ones")


def check_graph(config: ModelConfig, model: IntraBatchModel, num_nodes: int) -> None:
    """Check a batch graph that is not complete, or a layer of the user, with one forward pass.

    Args:
        config: Names and arguments of graph and layer.
        model: The model, which is not changed.
        num_nodes: Number of images in a batch.

    Raises:
        ConfigError: If the arguments of the graph are invalid, or the layer does not support it.
    """
    if model.mpn is None:
        return
    plug = None if hasattr(torch_geometric.nn, config.conv) else layer_plug(config.conv)
    if model.graph is complete_batch and plug is None:
        return
    generator = torch.Generator().manual_seed(0)
    nodes = torch.randn(num_nodes, config.embedding_dim, generator=generator)  # [N, D]
    with argument_errors("model.graph_args", config.graph, config.graph_args), torch.no_grad():
        graph = model.graph(F.normalize(nodes, dim=-1))
        training = model.training
        model.eval()
        with nullcontext() if plug is None else plug.errors():
            output = model.mpn(graph.x, graph.edge_index, graph.edge_weight).features[-1]
        model.train(training)
    if plug is not None and not bool(output.isfinite().all()):
        plug.refuse("finite embeddings", "NaN or infinite ones")
