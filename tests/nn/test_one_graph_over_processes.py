"""Losses, gradients, statistics and weights of several processes equal those of one.

8 images are 4 + 4, 3 + 3 + 2 and 2 + 2 + 2 + 2.
"""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ibc_pyg.data.sampling import shard_batch
from ibc_pyg.graph import knn, threshold
from ibc_pyg.nn.heads import BNNeckHead
from ibc_pyg.nn.model import IntraBatchModel, complete_batch
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.recompute import recompute_blocks
from ibc_pyg.nn.sync_batch_norm import synchronise_batch_norm
from ibc_pyg.parallel.collectives import gather_rows, mean_over_processes, share_weight
from tests.helpers.processes import assert_close, run_processes, to_lists

CLASSES, IMAGES, WIDTH, STEPS = 4, 2, 8, 3
NO_DROPOUT = dict.fromkeys(
    ("dropout_attention", "dropout_conv", "dropout_hidden", "dropout_mlp"), 0.0
)


@dataclass(frozen=True)
class Case:
    """A model to train."""

    steps: int = 1
    conv: str = "IntraBatchConv"
    self_loops: bool = True
    fuse: bool = True
    every_step: bool = False
    graph: str = "complete"
    recompute: bool = False


CASES = {
    "one step": Case(),
    "two steps": Case(steps=2, every_step=True),
    "no self-loops": Case(steps=2, self_loops=False),
    "fused GAT": Case(steps=2, conv="GATConv"),
    "fused GATv2": Case(conv="GATv2Conv", self_loops=False),
    "fused transformer": Case(conv="TransformerConv", self_loops=False),
    "edge-based GAT": Case(conv="GATConv", fuse=False),
    "SAGE": Case(steps=2, conv="SAGEConv"),
    "gradient checkpointing": Case(recompute=True),
    "threshold": Case(steps=2, graph="threshold", self_loops=False),
    "knn": Case(conv="GraphConv", graph="knn"),
}
GRAPHS = {
    "complete": complete_batch,
    "threshold": partial(threshold, threshold=0.2, similarity="cosine"),
    "knn": partial(knn, k=3, weighted=True),
}


def make_model(case):
    torch.manual_seed(7)
    backbone = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, WIDTH)
    )
    mpn = MPN(
        WIDTH, case.steps, heads=2, conv=case.conv, self_loops=case.self_loops, fuse=case.fuse,
        every_step=case.every_step, **NO_DROPOUT,
    )  # fmt: skip
    heads = [BNNeckHead(mpn.out_channels, CLASSES) for _ in range(mpn.num_outputs)]
    for head in heads:  # their small initial weights would hide errors of the nodes
        nn.init.normal_(head.linear.weight, std=0.5)
    auxiliary = nn.Linear(WIDTH, CLASSES)
    return IntraBatchModel(backbone, mpn, heads, auxiliary, GRAPHS[case.graph])


def train(rank, world, case):
    """Train three steps; return losses, gradients of the first step and final state."""
    model = make_model(case)
    if case.recompute:
        recompute_blocks(model.backbone)
    wrapped = model
    if world > 1:
        synchronise_batch_norm(model.backbone)
        wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.RAdam(model.parameters(), lr=0.01)
    draws = torch.Generator().manual_seed(1)
    share = shard_batch(CLASSES * IMAGES, rank, world)
    labels = torch.arange(CLASSES).repeat_interleave(IMAGES)[share]
    losses, gradients = [], {}
    for _ in range(STEPS):
        images = torch.randn(CLASSES * IMAGES, 1, 6, 6, generator=draws)[share]
        output = wrapped(images)
        loss = F.cross_entropy(output.auxiliary_logits, labels)
        for logits in output.node_logits:
            loss = loss + F.cross_entropy(logits, labels)
        loss = loss * share_weight(len(labels))
        # A pairwise loss uses the embeddings and labels of all processes.
        embedding, label = gather_rows(output.embedding), gather_rows(labels)
        same = label.unsqueeze(1) == label
        loss = loss + (torch.cdist(embedding + 1e-3, embedding) * same).mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(mean_over_processes(loss.detach())))
        gradients = gradients or {
            name: value.grad.clone()
            for name, value in model.named_parameters()
            if value.grad is not None
        }
        optimizer.step()
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return losses, gradients, state


def train_all(rank, world):
    """Train every case; return tensors as lists, which need no shared memory to be sent."""
    results = {}
    for name, case in CASES.items():
        losses, gradients, state = train(rank, world, case)
        results[name] = losses, to_lists(gradients), to_lists(state)
    return results


@pytest.fixture(scope="module")
def trained():
    alone = {name: train(0, 1, case) for name, case in CASES.items()}
    return alone, {world: run_processes(train_all, world) for world in (2, 3, 4)}


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("name", CASES)
def test_several_processes_train_as_one(trained, name, world):
    alone, together = trained
    losses, gradients, state = alone[name]
    for rank, result in enumerate(together[world]):
        found_losses, found_gradients, found_state = result[name]
        assert found_losses == pytest.approx(losses, rel=1e-5)
        assert found_gradients.keys() == gradients.keys()
        for key, value in gradients.items():
            assert_close(found_gradients[key], value, (rank, key))
        assert found_state.keys() == state.keys()
        for key, value in state.items():  # weights and running statistics
            assert_close(found_state[key], value, (rank, key))


def attention(rank, world):
    """Return the attention of two steps, of the receivers of this process over all senders."""
    torch.manual_seed(0)
    found = []
    nodes = torch.randn(8, WIDTH)[shard_batch(8, rank, world)]
    for conv, fuse in (("IntraBatchConv", True), ("GATConv", False)):
        torch.manual_seed(1)
        mpn = MPN(WIDTH, 2, heads=2, conv=conv, fuse=fuse, self_loops=False, **NO_DROPOUT)
        found += [a.tolist() for a in mpn(nodes, return_attention=True).attention]
    return found


@pytest.mark.parametrize("world", [2, 3])
def test_attention_has_a_column_for_the_nodes_of_all_processes(world):
    wanted = attention(0, 1)
    results = run_processes(attention, world)
    for number, value in enumerate(wanted):
        joined = torch.cat([torch.tensor(result[number]) for result in results], dim=1)
        assert joined.shape == (2, 8, 8)
        torch.testing.assert_close(joined, torch.tensor(value), rtol=1e-5, atol=1e-6)
