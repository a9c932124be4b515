"""Center loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ibc_pyg.losses.term import TermInput


class CenterLoss(nn.Module):
    r"""Half the mean squared distance to the learned centre of the class.

    From `"A Discriminative Feature Learning Approach for Deep Face Recognition"
    <https://doi.org/10.1007/978-3-319-46478-7_31>`_ (equation 2); the centres are
    learned by gradient descent.

    .. math:: L = \frac{1}{2N} \sum_i \lVert x_i - c_{y_i} \rVert^2

    Args:
        num_classes: Number C of training classes.
        embedding_size: Width D of the features.
    """

    def __init__(self, num_classes: int, embedding_size: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, embedding_size))

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the mean over the batch."""
        difference = inputs.features - self.centers[inputs.labels]  # [N, D]
        return difference.square().sum(dim=1).mean() / 2
