"""Batch samplers that draw P classes x K images."""

from ibc_pyg.data.sampling.base import PKSampler, SamplerSettings
from ibc_pyg.data.sampling.distinct import DistinctSampler
from ibc_pyg.data.sampling.factory import make_sampler
from ibc_pyg.data.sampling.redrawn import RedrawnSampler
from ibc_pyg.data.sampling.sharding import shard_batch, shard_rows
from ibc_pyg.data.sampling.walk import WalkSampler

__all__ = [
    "DistinctSampler",
    "PKSampler",
    "RedrawnSampler",
    "SamplerSettings",
    "WalkSampler",
    "make_sampler",
    "shard_batch",
    "shard_rows",
]
