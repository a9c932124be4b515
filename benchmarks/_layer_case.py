"""Measurement of one layer at one size, in a separate process started by layers.py."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from _timing import available_bytes, extra_peak_bytes, machine, time_call
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

from ibc_pyg.graph.complete import complete
from ibc_pyg.nn.conv.fused import fuse
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv

_WARM_UP_NODES = 16


@dataclass(frozen=True)
class Request:
    """Measurement requested by layers.py."""

    layer: str
    nodes: int
    channels: int
    heads: int
    threads: int
    device: str
    precision: str
    compile: bool
    repeats: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """Result: seconds, and bytes beyond those of parameters, input and edges."""

    layer: str
    nodes: int
    forward: float
    forward_backward: float
    extra_bytes: int
    repeats: int


class Floor(nn.Module):
    """Lower bound for dense attention layers: four projections and the attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(channels, channels) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes, channels = x.shape
        query, key, value = (
            linear(x).view(1, nodes, self.heads, -1).transpose(1, 2)  # [1, H, N, C]
            for linear in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)  # [1, H, N, C]
        return self.out(mixed.transpose(1, 2).reshape(nodes, channels))


class SelfAttention(nn.Module):
    """`torch.nn.MultiheadAttention` as self-attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        one = x.unsqueeze(0)  # [1, N, C]
        return self.attention(one, one, one, need_weights=False)[0].squeeze(0)


class OnEdges(nn.Module):
    """Layer on the edges of the complete graph, which are created before timing."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.edge_index = torch.empty(2, 0, dtype=torch.long)

    def prepare(self, nodes: int, device: torch.device) -> None:
        self.edge_index = complete(nodes).edge_index.to(device)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.edge_index)


def _edges(make: Callable[..., nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda channels, heads: OnEdges(make(channels, channels // heads, heads=heads))


def _fused(make: Callable[..., nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda channels, heads: fuse(make(channels, channels // heads, heads=heads))


LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "floor": Floor,
    "torch MultiheadAttention": SelfAttention,
    "IntraBatchConv dense": lambda channels, heads: IntraBatchConv(channels, channels, heads),
    "IntraBatchConv sparse": lambda channels, heads: OnEdges(
        IntraBatchConv(channels, channels, heads)
    ),
    "PyG TransformerConv": _edges(TransformerConv),
    "fused TransformerConv": _fused(TransformerConv),
    "PyG GATConv": _edges(GATConv),
    "fused GATConv": _fused(GATConv),
    "PyG GATv2Conv": _edges(GATv2Conv),
    "fused GATv2Conv": _fused(GATv2Conv),
}


def measure(request: Request) -> Result:
    """Build the layer and measure it."""
    torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    device = torch.device(request.device)
    module = LAYERS[request.layer](request.channels, request.heads).to(device)
    layer = torch.compile(module) if request.compile else module

    def prepare(nodes: int) -> tuple[Tensor, Tensor]:
        if isinstance(module, OnEdges):
            module.prepare(nodes, device)
        x = torch.randn(nodes, request.channels, device=device)
        return F.normalize(x).requires_grad_(), torch.randn_like(x)

    def autocast() -> contextlib.AbstractContextManager[object]:
        if request.precision == "bf16-mixed":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def forward() -> Tensor:
        with torch.no_grad(), autocast():
            return layer(x)

    def forward_backward() -> None:
        with autocast():
            out = layer(x)
        out.backward(weight.to(out.dtype))

    x, weight = prepare(_WARM_UP_NODES)
    forward_backward()  # allocates the gradients of the parameters
    x, weight = prepare(request.nodes)
    if request.compile:
        forward_backward()
    extra = extra_peak_bytes(forward_backward, device)
    limits = {"repeats": request.repeats, "seconds": request.seconds}
    forward_time = time_call(forward, device, **limits)
    full_time = time_call(forward_backward, device, **limits)
    return Result(
        request.layer,
        request.nodes,
        forward_time.median,
        full_time.median,
        extra,
        min(forward_time.repeats, full_time.repeats),
    )


def main() -> None:
    """Read one request from standard input and print the result as one line of JSON."""
    request = Request(**json.loads(sys.stdin.read()))
    device = torch.device(request.device)
    if request.nodes == 0:  # a request for machine and layer names
        torch.set_num_threads(request.threads)
        about = {"machine": machine(device), "available": available_bytes(device)}
        print(json.dumps({**about, "layers": list(LAYERS)}))
        return
    print(json.dumps(asdict(measure(request))))


if __name__ == "__main__":
    main()
