"""Size of a model and work of its training step, for comparisons of unequal models."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ibc_pyg.errors import reason
from ibc_pyg.nn.conv.arguments import Construction
from ibc_pyg.nn.conv.step import MPNStep
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.training.experiment import Experiment

_logger = logging.getLogger(__name__)


def _attention(
    query: torch.Size, key: torch.Size, value: torch.Size, *unused: Any, **unnamed: Any
) -> int:
    """Return the operations of attention with shapes `[B, H, N, C]`, `[B, H, M, C]`, ..."""
    graphs, heads, receivers, width = query
    return 2 * graphs * heads * receivers * key[2] * (width + value[3])


# The counter knows the attention kernels of GPUs only.
_FORMULAS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


@dataclass(frozen=True)
class Cost:
    """Size of a model and work of its step.

    Attributes:
        trainable_parameters: Parameters of backbone, message passing and heads that are trained.
        multiply_adds: Of the matrix products and convolutions in the forward pass of one training
            batch; None if they cannot be counted. Element-wise operations, and sums over explicit
            edges, are not counted.
        graph_layer: How the graph layer was made; None where there is no record.
    """

    trainable_parameters: int
    multiply_adds: int | None
    graph_layer: Construction | None


def cost_of(experiment: Experiment) -> Cost:
    """Return the cost of a training; its model and the global random generator are not changed.

    With several processes the batch is the share of one.
    """
    model = experiment.model
    parameters = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return Cost(parameters, _multiply_adds(experiment), construction_of(model))


def construction_of(model: IntraBatchModel) -> Construction | None:
    """Return how the graph layer of a model was made; None where there is no record."""
    steps = () if model.mpn is None else model.mpn.steps
    first = next((each.conv for each in steps if isinstance(each, MPNStep)), None)
    made = getattr(first, "construction", None)
    return made if isinstance(made, Construction) else None


def _multiply_adds(experiment: Experiment) -> int | None:
    model, transform = experiment.model, experiment.data.transform
    share = experiment.sampler.share
    count = share.stop - share.start
    size = transform.image_size
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(count, transform.channels, size, size, generator=draws)
    training = model.training
    try:
        # In evaluation mode no statistics change and dropout draws nothing; the work is the same.
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            model.eval()(images.to(experiment.fabric.device))
    except Exception as error:  # a count must not cost a training
        _logger.warning("the multiply-adds of a step are not counted: %s", reason(error))
        return None
    finally:
        model.train(training)
    return int(counter.get_total_flops()) // 2
