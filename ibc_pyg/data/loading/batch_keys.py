"""Keys of the batches of a pass, for a `BatchDataset`."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from ibc_pyg.data.loading.dataset import BatchKey
from ibc_pyg.data.sampling import PKSampler
from ibc_pyg.data.table import Rows


class TrainKeys(Sampler[BatchKey]):
    """Keys of the remaining batches of the sampler's epoch."""

    def __init__(self, sampler: PKSampler) -> None:
        self._sampler = sampler

    def __len__(self) -> int:
        """Return the number of batches of the whole epoch."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[BatchKey]:
        sampler = self._sampler
        epoch, share, plan = sampler.epoch, sampler.share, sampler.plan(sampler.epoch)
        for step in range(sampler.step, len(plan)):
            yield BatchKey(plan[step, share], epoch, step, share.start, sampler.batch_size)


class EvalKeys(Sampler[BatchKey]):
    """Keys of consecutive batches of `rows`."""

    def __init__(self, rows: Rows, batch_size: int) -> None:
        self._rows = rows
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(0, len(self._rows), self._batch_size):
            yield BatchKey(self._rows[start : start + self._batch_size])
