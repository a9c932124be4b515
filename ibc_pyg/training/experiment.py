"""Setup of an experiment: device, seed, data, model, loss and optimiser."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from ibc_pyg.builders.checks import check_backbone, check_graph
from ibc_pyg.builders.compiling import compile_step
from ibc_pyg.builders.data import Data, build_data
from ibc_pyg.builders.loss import build_loss
from ibc_pyg.builders.model import build_model, span_processes
from ibc_pyg.builders.optimization.ema import WeightAverage
from ibc_pyg.builders.optimization.freezing import set_frozen
from ibc_pyg.builders.optimization.optimizer import build_optimizer
from ibc_pyg.builders.optimization.schedule import own_schedule
from ibc_pyg.builders.plugged import import_plugs, with_kept_code
from ibc_pyg.config import Config
from ibc_pyg.config.evaluate import REFINERS, TRAINED_REFINER
from ibc_pyg.data.sampling import PKSampler, SamplerSettings, make_sampler
from ibc_pyg.errors import ConfigError, DatasetError, program
from ibc_pyg.evaluation.own_metrics import check_metrics
from ibc_pyg.evaluation.refined import check_refine_options
from ibc_pyg.inference.refined.own_refiner import check_refiner
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.recompute import recompute_blocks
from ibc_pyg.parallel.fabric import make_fabric, share_tensors
from ibc_pyg.parallel.precision import check_scaling, set_convolution
from ibc_pyg.parallel.processes import main_process_first
from ibc_pyg.parallel.random_states import seed_dropout
from ibc_pyg.runs.split_record import SplitRecord
from ibc_pyg.training.monitor.statistics import StepStatistics


@dataclass
class Experiment:
    """Everything that a training needs.

    Attributes:
        config: Configuration; in a resumed run its plugged files are the run's copies.
        written: Configuration as config.yaml and the checkpoints have it.
        fabric: Device, precision and processes.
        data: Images, splits and transforms.
        model: The bare model; its parameters are those of `step_model`.
        step_model: The model as Fabric wraps it for the training step.
        optimizer: As Fabric wraps it.
        loss: The loss.
        sampler: Draws PK batches of positions in `data.splits.train`.
        ema: Average of the model's weights, which is evaluated and kept.
        statistics: Statistics of a step besides its losses.
    """

    config: Config
    written: Config
    fabric: Fabric
    data: Data
    model: IntraBatchModel
    step_model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: IntraBatchLoss
    sampler: PKSampler
    ema: WeightAverage | None = None
    statistics: StepStatistics | None = None


def setup(
    config: Config,
    console: Console | None = None,
    *,
    all_classes: bool = False,
    from_checkpoint: bool = False,
    record: SplitRecord | None = None,
    kept_code: Path | None = None,
    trust_code: bool = False,
) -> Experiment:
    """Build an experiment; the seed sets the weights and the order of the batches.

    Args:
        config: Configuration.
        console: Shows progress of slow steps.
        all_classes: Hold out no training classes, whatever `select` is.
        from_checkpoint: Do not read `model.weights`, which may have been removed, since a
            checkpoint is loaded.
        record: Images of the run that is resumed; None loads the data set.
        kept_code: Folder of the run that is resumed, whose copies of plugged files are used.
        trust_code: As in `build_loss`.

    Raises:
        UserError: If the configuration, the data set or the device does not fit.
    """
    written = config
    if kept_code is not None:
        config = with_kept_code(config, kept_code)
    check_scaling(config.train)
    import_plugs(config)
    fabric = make_fabric(config.train)
    set_convolution(config.train, fabric.device)
    wanted = config.on_all_classes() if all_classes else config
    # The first process leaves what is decoded or drawn once for all.
    data = main_process_first(lambda: build_data(wanted, console, record=record))
    if data.splits.num_classes < 2:
        raise DatasetError(
            f"{data.table.name}: all training images have the same class, and a loss compares at "
            "least 2; a class is the folder that a picture lies in, or a label of the list"
        )
    _check_evaluation(config, data)
    train = config.train
    sampler = make_sampler(
        config.data.sampler,
        data.splits.train_labels,
        SamplerSettings(
            config.data.classes_per_batch,
            config.data.images_per_class,
            seed=train.seed,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        ),
        config.data.sampler_args,
    )
    torch.manual_seed(train.seed)
    model = build_model(
        replace(config.model, weights=None) if from_checkpoint else config.model,
        num_classes=data.splits.num_classes,
        channels=data.transform.channels,
    )
    check_backbone(config.model, model, data.transform)
    check_graph(config.model, model, sampler.batch_size)
    if train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    loss = build_loss(
        replace(written, loss=config.loss),  # a teacher is compared by the names of the user
        model,
        num_classes=data.splits.num_classes,
        channels=data.transform.channels,
        trust_code=trust_code,
    ).to(fabric.device)
    loss.teacher_precision = fabric.autocast
    if fabric.world_size > 1:
        model = span_processes(config.model, model)
        seed_dropout(train.seed)
    if config.model.gradient_checkpointing:
        recompute_blocks(model.backbone)
    set_frozen(model, config, 0.0)
    optimizer = build_optimizer(train, model, loss, device=fabric.device)
    own_schedule(train)
    trained = compile_step(model, fabric.device) if train.compile else model
    step_model, step_optimizer = fabric.setup(trained, optimizer)
    share_tensors([*model.parameters(), *model.buffers(), *loss.parameters(), *loss.buffers()])
    ema = None if train.ema_decay is None else WeightAverage(model, train.ema_decay)
    return Experiment(
        config, written, fabric, data, model, step_model, step_optimizer, loss, sampler, ema
    )


def _check_evaluation(config: Config, data: Data) -> None:
    """Try out metrics and refiner of the user, which are needed after training."""
    evaluate, test = config.evaluate, data.splits.test
    separate = test is not None and test.gallery is not None
    check_metrics(evaluate.metrics, separate=separate)
    check_refine_options(evaluate)
    if evaluate.refine == TRAINED_REFINER:
        raise ConfigError(
            "evaluate.refine = refiner needs a trained refiner; train the run without it, then: "
            f"{program()} refine RUN_DIR, {program()} evaluate RUN_DIR --refine refiner"
        )
    if evaluate.refine not in REFINERS:
        check_refiner(evaluate.refine, evaluate.refine_size, separate=separate)
