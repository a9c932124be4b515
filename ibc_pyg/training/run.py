"""A whole run: set up, fit, evaluate, report."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ibc_pyg.builders.data_changes import check_same_data
from ibc_pyg.builders.plugged import check_code, with_kept_code
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.console import info
from ibc_pyg.errors import RunError, program
from ibc_pyg.evaluation.refined import refine_and_score
from ibc_pyg.evaluation.scores import score, score_raw_pixels
from ibc_pyg.files import make_folder, read_json, write_json
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import EvalDescriptors, extract_split
from ibc_pyg.inference.trained import Trained, load_run
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.weights import fit_weights, read_weights
from ibc_pyg.parallel.collectives import world_size
from ibc_pyg.parallel.fabric import explain_lost_process, make_fabric
from ibc_pyg.parallel.processes import (
    all_gather_json,
    broadcast_from_main,
    is_main_process,
    raise_together,
    run_on_main,
)
from ibc_pyg.report.from_run import make_pictures, make_report
from ibc_pyg.runs.checkpoint import list_checkpoints
from ibc_pyg.runs.resume import find_interrupted
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.run_lock import locked
from ibc_pyg.runs.source_record import check_sources
from ibc_pyg.runs.split_record import read_split, record_of
from ibc_pyg.track import MultiTracker
from ibc_pyg.training.cost import construction_of, cost_of
from ibc_pyg.training.experiment import Experiment, setup
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.fit import fit
from ibc_pyg.training.retrain import retrain
from ibc_pyg.training.snapshot import save_split, save_weights
from ibc_pyg.training.trackers import make_tracker
from ibc_pyg.training.training import Training

EXTENSION = ("extended_from", "extended_at_epoch")
"""Fields of `environment.json` and of the summary of a run that goes on from another one's end."""

_logger = logging.getLogger(__name__)


def train(config: Config, out: Path, console: Console, *, trust_code: bool = False) -> RunFolder:
    """Start a run.

    Args:
        config: The experiment.
        out: Folder of the run; must be missing, empty, or hold what a training left that was
            interrupted before its first checkpoint.
        console: Shows progress.
        trust_code: As in `build_loss`.

    Raises:
        UserError: If something in the input is wrong.
        TrainingInterrupted: If the user stopped it; the folder can be resumed.
    """
    RunFolder(out).check_free()
    # The parts are built first, so that a mistake in the input leaves no folder behind.
    experiment = setup(config, console, trust_code=trust_code)
    # Default folder names contain the time, which differs between processes.
    run = RunFolder(Path(broadcast_from_main(lambda: str(out))))
    run_on_main(lambda: make_folder(run.path))
    with locked(run.path), explain_lost_process():
        text, code = config_to_yaml(config), plugged_sources(config)
        run_on_main(lambda: RunFolder.create(run.path, config_yaml=text, code=code))
        return _work(experiment, run, console, None)


def resume(
    path: Path,
    console: Console,
    wanted: Config | None = None,
    *,
    trust_code: bool = False,
    known_code: Collection[str] = (),
) -> RunFolder:
    """Resume an interrupted run; a finished one is left unchanged.

    Args:
        path: Its folder. A run without a checkpoint starts from the beginning.
        console: Shows progress.
        wanted: The experiment that the run should be; None accepts that of the folder.
        trust_code: Whether code that the folder or its teacher refer to may be imported.
        known_code: References that the user named, which are trusted.

    Raises:
        UserError: If the folder is not a run, or is a run of another experiment, or has no intact
            checkpoint, or another process trains it.
        TrainingInterrupted: If the user stopped it again.
    """
    finished = RunFolder.open(path).summary.is_file()
    with nullcontext() if finished else locked(path):
        return _resume(path, console, wanted, trust_code=trust_code, known_code=known_code)


def _resume(
    path: Path,
    console: Console,
    wanted: Config | None,
    *,
    trust_code: bool,
    known_code: Collection[str],
) -> RunFolder:
    interrupted = find_interrupted(path, wanted)
    run, config = interrupted.run, interrupted.config
    finished = run.summary.is_file()
    without_report = config.track.report and not run.report.is_file()
    if not finished or without_report:
        check_code(config, path, trust=trust_code, known=known_code)
    check_sources(path, plugged_sources(config))
    if finished:
        run.read_summary()
        if without_report:
            make_fabric(config.train)
            run_on_main(run.sweep)
            run_on_main(lambda: make_report(EvalSet(load_run(path, trust_code=True))))
        info(console, f"{path} is finished; nothing to resume")
        return run
    record = read_split(run.split, data_root=config.data.root)
    if record is not None and record.image_shape is None:
        check_same_data(with_kept_code(config, path).data, record)
    experiment = setup(
        config,
        console,
        all_classes=interrupted.retraining,
        from_checkpoint=interrupted.checkpoint is not None,
        record=record,
        kept_code=path,
        trust_code=trust_code,
    )
    run_on_main(interrupted.prepare)
    with explain_lost_process():
        return _work(experiment, run, console, interrupted.checkpoint)


def _work(
    experiment: Experiment, run: RunFolder, console: Console, checkpoint: tuple[int, Any] | None
) -> RunFolder:
    with raise_together():
        config, written = experiment.config, experiment.written
        tracker = make_tracker(config, run, written) if is_main_process() else MultiTracker([])
    save_split(experiment, run)
    made = construction_of(experiment.model)
    if made is not None and made.name != IntraBatchConv.__name__:
        info(console, f"graph layer: {made}")
    training = Training(experiment, run, tracker, console)
    try:
        fit(training, checkpoint)
        if experiment.config.retrain:
            training = retrain(training)
        progress = training.progress
        if experiment.config.select == "last":
            progress.best_epoch = training.experiment.sampler.epoch
        if experiment.config.select == "last" or progress.retraining:
            save_weights(training)
        summary = _evaluate(training)
        summary["train_seconds"] = round(progress.seconds, 1)
        numbers = summary | summary["cost"]
        tracker.summary({key: value for key, value in numbers.items() if _is_number(value)})
        run_on_main(lambda: write_json(run.summary, summary))
        if experiment.config.track.report:
            run_on_main(lambda: _report(training))
    except KeyboardInterrupt:
        info(console, _resume_hint(run))
        run_on_main(tracker.close)  # torchrun ends the other processes after the first one.
        raise TrainingInterrupted from None
    finally:
        tracker.close()
    for command in tracker.uploads:
        info(console, f"upload to W&B: {command}")
    return run


def _report(training: Training) -> None:
    data = make_report(_eval_set(training))
    if training.experiment.config.track.wandb == "disabled":
        return  # the local record keeps no pictures
    try:
        pictures = make_pictures(data)
    except Exception as error:  # the run is finished; a picture must not fail it
        _logger.warning("the pictures are not drawn: %s", error)
        return
    for name, picture in pictures.items():
        training.tracker.image(training.progress.step, name, picture)
    training.tracker.artifact("report", "report", [training.run.report])


def _eval_set(training: Training) -> EvalSet:
    experiment, data = training.experiment, training.experiment.data
    record = record_of(data.table, data.splits)
    trained = Trained(
        training.run,
        experiment.config,
        experiment.fabric,
        experiment.model.eval(),
        data.transform,
        record,
        record.image_shape,
    )
    return EvalSet(trained, data)


def _resume_hint(run: RunFolder) -> str:
    count = world_size()
    command = run.resume_command
    if count > 1:
        script = program().replace("python run.py", "run.py").replace("ibc-pyg", "-m ibc_pyg")
        rest = command.removeprefix(program())
        command = f"torchrun --nproc_per_node {count} {script}{rest}"
    if not list_checkpoints(run.checkpoints):
        return f"stopped before the first checkpoint; start again: {command}"
    return f"stopped; resume: {command}"


def _evaluate(training: Training) -> dict[str, Any]:
    """Return the final metrics, of the selected weights."""
    experiment, run = training.experiment, training.run
    config, data = experiment.config, experiment.data
    fit_weights(experiment.model, read_weights(run.weights), run.weights)
    described = None
    if data.splits.test is not None:
        described = extract_split(
            experiment.fabric,
            experiment.model,
            data,
            data.splits.test,
            batch_size=config.evaluate.batch_size,
        )
        _check_finite(run, described)
    for pairs in all_gather_json(list(data.skipped.items())):
        data.skipped.update(pairs)
    return broadcast_from_main(lambda: _summarise(training, described))


def _check_finite(run: RunFolder, described: EvalDescriptors) -> None:
    if not bool(described.queries.vectors.isfinite().all()):
        raise RunError(
            f"the descriptors of {run.weights} are not finite: training has diverged, though its "
            "loss was finite; lower train.lr and start a new run"
        )


def _summarise(training: Training, described: EvalDescriptors | None) -> dict[str, Any]:
    experiment, run, progress = training.experiment, training.run, training.progress
    config, data = experiment.config, experiment.data
    if data.skipped:
        skipped = {data.table.paths[row]: data.skipped[row] for row in sorted(data.skipped)}
        write_json(run.skipped, skipped)
    summary: dict[str, Any] = {"tested": False}
    if described is not None:
        summary = _scores(training, described)
    summary |= {"select": config.select, "epoch": progress.best_epoch, "seed": config.train.seed}
    summary["cost"] = asdict(cost_of(experiment))
    made = read_json(run.environment)
    summary |= {name: made[name] for name in EXTENSION if name in made}
    return summary | ({"retrained": True} if progress.retraining else {})


def _scores(training: Training, described: EvalDescriptors) -> dict[str, Any]:
    experiment = training.experiment
    config, data = experiment.config, experiment.data
    _eval_set(training).save(described)
    options: Any = {"seed": config.train.seed, "device": experiment.fabric.device}
    summary = score(described, config.evaluate, **options)
    if config.evaluate.refine != "none":
        summary["refined"] = refine_and_score(
            experiment.model, described, config.evaluate, **options
        )
    if config.evaluate.raw_pixels:
        summary["raw_pixels"] = score_raw_pixels(data.table, data.splits.tested(), config.evaluate)
    return summary


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
