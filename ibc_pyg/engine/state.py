"""What a training is made of between two steps: saved, and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safetensors.torch import save

from ibc_pyg.engine.checkpoint import random_state, save_checkpoint, set_random_state
from ibc_pyg.engine.files import write_atomically
from ibc_pyg.engine.load import fit_weights
from ibc_pyg.engine.run_folder import RunFolder
from ibc_pyg.engine.setup import Experiment
from ibc_pyg.errors import RunError


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        step: Optimiser steps done.
        best: R@1 of the best evaluation so far; -1 before the first.
        best_epoch: Epochs done at that evaluation.
        seconds: Time of training and its evaluations, in all sittings.
    """

    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0


def save_weights(experiment: Experiment, run: RunFolder) -> None:
    """Write the model's weights to the run folder.

    Raises:
        RunError: If they cannot be written; the earlier file is as it was.
    """
    weights = {
        # clone: safetensors refuses tensors that share memory.
        name: value.detach().cpu().contiguous().clone()
        for name, value in experiment.model.state_dict().items()
    }
    write_atomically(run.weights, save(weights))


def save_state(experiment: Experiment, run: RunFolder, at: Progress) -> None:
    """Write a checkpoint of everything that training goes on from.

    Raises:
        RunError: If it cannot be written; the earlier ones are as they were.
    """
    state = {
        "model": experiment.model.state_dict(),
        "optimizer": experiment.optimizer.state_dict(),
        "random": random_state(),
        # The scale of the gradients, in 16-bit floats.
        "precision": experiment.fabric.strategy.precision.state_dict(),
        "sampler": experiment.sampler.state_dict(),
        "progress": vars(at),
    }
    save_checkpoint(run.checkpoints, at.step, state)


def restore_state(experiment: Experiment, run: RunFolder, state: Any) -> Progress:
    """Put everything back to where `save_state` saw it.

    Raises:
        RunError: If the state does not fit the experiment.
    """
    try:
        fit_weights(experiment.model, state["model"], run.checkpoints)
        experiment.optimizer.load_state_dict(state["optimizer"])
        experiment.sampler.load_state_dict(state["sampler"])
        set_random_state(state["random"])
        if state.get("precision"):
            experiment.fabric.strategy.precision.load_state_dict(state["precision"])
        return Progress(**state["progress"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"the checkpoint in {run.checkpoints} does not fit config.yaml: {error}"
        ) from error
