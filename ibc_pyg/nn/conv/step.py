"""One step of the message passing network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ibc_pyg.nn.mpn_config import MPNConfig
from ibc_pyg.nn.senders import senders_of


class MPNStep(nn.Module):
    """Graph layer, residual, norm, then an MLP per node, residual, norm.

    The norms follow the residual sums (post-norm). Without the MLP an identity takes its place, as
    in the released code: the second residual then doubles the embedding.

    Args:
        conv: Graph layer, `[N, C]` to `[N, C]`, with C = `config.width`.
        config: MLP, residuals, norms and dropout rates.

    Shapes:
        - **input:** node embeddings :math:`(N, C)` or :math:`(B, N, C)`; edge indices
          :math:`(2, E)` *(optional)*; edge weights *(optional)*
        - **output:** node embeddings, shaped as the input, and attention weights or None
    """

    def __init__(self, conv: nn.Module, config: MPNConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_ratio * config.width
        self.residual_conv = config.residual_conv
        self.residual_mlp = config.residual_mlp
        self.conv = conv
        self.dropout_conv = nn.Dropout(config.dropout_conv)
        self.norm_conv = nn.LayerNorm(width) if config.norm_conv else nn.Identity()
        self.mlp: nn.Module = nn.Identity()
        if config.mlp:
            self.mlp = nn.Sequential(
                nn.Linear(width, hidden),
                nn.ReLU(),
                nn.Dropout(config.dropout_hidden),
                nn.Linear(hidden, width),
            )
        self.dropout_mlp = nn.Dropout(config.dropout_mlp)
        self.norm_mlp = nn.LayerNorm(width) if config.norm_mlp else nn.Identity()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the refined embeddings, shaped as `x`, and the attention weights if requested."""
        alpha: Tensor | None = None
        # In training the senders are the nodes of all processes, as they are before this step.
        options: dict[str, Any] = {}
        if self.training and x.dim() == 2 and (senders := senders_of(x)) is not None:
            options["senders"] = senders
        if return_attention:
            options["return_attention_weights"] = True
            update, weights = self.conv(x, edge_index, edge_weight, **options)
            alpha = weights[1] if isinstance(weights, tuple) else weights
        else:
            update = self.conv(x, edge_index, edge_weight, **options)
        update = self.dropout_conv(update)
        x = self.norm_conv(x + update if self.residual_conv else update)
        update = self.dropout_mlp(self.mlp(x))
        x = self.norm_mlp(x + update if self.residual_mlp else update)
        return x, alpha
