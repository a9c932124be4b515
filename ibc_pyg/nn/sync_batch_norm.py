"""Synchronised batch normalisation on any device."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from ibc_pyg.parallel.collectives import world_size


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation with the statistics of the global batch.

    In training with several processes, mean and variance are those of the rows of all processes,
    and the running statistics are the same in all of them (the variance unbiased by the global
    count). In evaluation, and with one process, it is `nn.BatchNorm1d/2d/3d`. On GPUs it is
    `nn.SyncBatchNorm`, with torch's kernels; unlike that, it also works on CPUs. Arguments and
    parameters are those of `nn.BatchNorm2d`.

    Shapes:
        - **input:** :math:`(N, C)` or :math:`(N, C, *)`; * the same in every process
        - **output:** as the input

    Raises:
        ValueError: If the input has fewer than 2 dimensions.
    """

    # Not derived from `nn.SyncBatchNorm`, which DistributedDataParallel refuses on a CPU; its
    # forward pass needs these two.
    process_group = None
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"input must be [N, C] or [N, C, *], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel; returns a tensor shaped as `input`."""
        out: Tensor
        if not self.training or world_size() == 1:
            out = super().forward(input)
        elif input.is_cuda:
            out = nn.SyncBatchNorm.forward(cast(nn.SyncBatchNorm, self), input)
        else:
            out = self._over_processes(input)
        return out

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _over_processes(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        out: Tensor
        out, mean, var, count = _NormaliseOverProcesses.apply(
            input, self.weight, self.bias, self.eps
        )
        self._track(mean, var * (count / (count - 1)))
        return out

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), momentum)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Replace each batch normalisation in `module` by a synchronised one.

    Parameters and statistics are shared, not copied.

    Returns:
        `module`, changed in place; or its replacement, if it is a batch normalisation itself.
    """
    for name, child in module.named_children():
        setattr(module, name, synchronise_batch_norm(child))
    if not isinstance(module, _BatchNorm) or isinstance(module, SyncBatchNorm):
        return module
    synchronised = SyncBatchNorm.__new__(SyncBatchNorm)
    synchronised.__setstate__(dict(module.__dict__))  # type: ignore[no-untyped-call]
    return synchronised


class _NormaliseOverProcesses(torch.autograd.Function):
    """Normalisation (x - mean) / sqrt(var + eps) * weight + bias with global mean and var."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over = [0, *range(2, x.dim())]
        values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        # Means and variances of the processes are combined (Chan et al. 1979). The difference of
        # two sums would lose the digits of the variance where the mean is large.
        own_var, own_mean = torch.var_mean(values, over, correction=0)  # [C], [C]
        own_count = own_mean.new_full([1], x.numel() // x.size(1))
        own = torch.cat([own_mean, own_var, own_count])  # [2 * C + 1]
        stats = own.new_empty(world_size(), len(own))  # [W, 2 * C + 1]
        dist.all_gather(list(stats.unbind(0)), own)
        channels = x.size(1)
        means, variances, counts = torch.split(stats, [channels, channels, 1], dim=1)  # [W, C]
        count = counts.sum()
        share = counts / count  # [W, 1], of all values
        mean = (share * means).sum(0)  # [C]
        var = (share * (variances + (means - mean).square())).sum(0)  # [C]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        scale = (var + eps).rsqrt()  # [C]
        out = (values - mean.view(shape)) * scale.view(shape)
        if weight is not None:
            out = out * weight.view(shape)
        if bias is not None:
            out = out + bias.view(shape)
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, var, count)
        return out.to(x.dtype), mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad: Tensor, *unused: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        over = [0, *range(2, x.dim())]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        normalised = (x - mean.view(shape)) * scale.view(shape)
        grad_out = grad.to(normalised.dtype)
        # Gradients of the parameters stay local; they are averaged with those of all parameters.
        grad_bias = grad_out.sum(over)  # [C]
        grad_weight = (grad_out * normalised).sum(over)  # [C]
        sums = torch.stack([grad_bias, grad_weight])  # [2, C]
        dist.all_reduce(sums)
        through_mean, through_var = (sums / count).unbind(0)
        grad_x = grad_out - through_mean.view(shape) - normalised * through_var.view(shape)
        factor = scale if weight is None else scale * weight
        grad_x = (grad_x * factor.view(shape)).to(x.dtype)
        return (
            grad_x,
            grad_weight if ctx.needs_input_grad[1] else None,
            grad_bias if ctx.needs_input_grad[2] else None,
            None,
        )
