"""Trial passes of backbone and graph before training."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ibc_pyg.builders.arguments import argument_errors
from ibc_pyg.config import ModelConfig
from ibc_pyg.data.transforms import Transform
from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.nn.model import IntraBatchModel, complete_batch


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
    images = torch.zeros(1, transform.channels, size, size)  # [1, C, S, S]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model.backbone(images)
    except RuntimeError as error:
        raise ConfigError(
            f"model.backbone: {config.backbone} does not accept images of {size} x {size}: "
            f"{first_line(error)}; set data.transform_args.image_size"
        ) from error
    finally:
        model.train(training)


def check_graph(config: ModelConfig, model: IntraBatchModel, num_nodes: int) -> None:
    """Check a batch graph that is not complete with one forward pass.

    Args:
        config: Names and arguments of graph and layer.
        model: The model, which is not changed.
        num_nodes: Number of images in a batch.

    Raises:
        ConfigError: If the arguments of the graph are invalid, or the layer does not support it.
    """
    if model.mpn is None or model.graph is complete_batch:
        return
    generator = torch.Generator().manual_seed(0)
    nodes = torch.randn(num_nodes, config.embedding_dim, generator=generator)  # [N, D]
    with argument_errors("model.graph_args", config.graph, config.graph_args), torch.no_grad():
        graph = model.graph(F.normalize(nodes, dim=-1))
        training = model.training
        model.eval()
        model.mpn(graph.x, graph.edge_index, graph.edge_weight)
        model.train(training)
