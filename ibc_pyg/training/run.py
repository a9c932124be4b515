"""The whole of a run: set up, fit, evaluate, report."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rich.console import Console

from ibc_pyg.config import Config
from ibc_pyg.config.yaml_file import config_to_dict, config_to_yaml
from ibc_pyg.console import info
from ibc_pyg.errors import RunError
from ibc_pyg.evaluation.scores import refine_and_score, score, score_raw_pixels
from ibc_pyg.files import read_json, write_json
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import EvalDescriptors, extract_split
from ibc_pyg.inference.trained import Trained, load_run
from ibc_pyg.nn.conv.user_conv import check_code
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
from ibc_pyg.runs.split_record import read_split, record_of
from ibc_pyg.track import JsonlTracker, MultiTracker, WandbTracker
from ibc_pyg.track.base import Tracker
from ibc_pyg.training.experiment import Experiment, setup
from ibc_pyg.training.fit import TrainingInterrupted, fit
from ibc_pyg.training.retrain import retrain
from ibc_pyg.training.snapshot import Progress, save_split, save_weights


def train(config: Config, out: Path, console: Console, *, trust_code: bool = False) -> RunFolder:
    """Start a run.

    Args:
        config: The experiment.
        out: Folder of the run; must not hold one yet.
        console: Where progress is shown.
        trust_code: As in `build_loss`.

    Raises:
        UserError: If something in the input does not fit.
        TrainingInterrupted: If the user stopped it; the folder can be resumed.
    """
    # The parts are built first, so that a mistake in the input leaves no folder behind.
    experiment = setup(config, console, trust_code=trust_code)
    # Each process names a run that was given no folder by its own clock.
    run = RunFolder(Path(broadcast_from_main(lambda: str(out))))
    run_on_main(lambda: RunFolder.create(run.path, config_yaml=config_to_yaml(config)))
    with explain_lost_process():
        return _work(experiment, run, console, None)


def resume(
    path: Path,
    console: Console,
    wanted: Config | None = None,
    *,
    trust_code: bool = False,
    known_code: Collection[str] = (),
) -> RunFolder:
    """Go on with a run that was cut; a finished one is left as it is.

    Args:
        path: Its folder. A run without a checkpoint begins anew.
        console: Where progress is shown.
        wanted: What it was said to be; None takes the folder's word.
        trust_code: Whether graph layers that the folder or its teacher name may be imported where
            they are neither of PyG nor of this package.
        known_code: Such layers that the user named, which are trusted.

    Raises:
        UserError: If the folder is no run, or another one than was said, or has no whole
            checkpoint.
        TrainingInterrupted: If the user stopped it again.
    """
    cut = find_interrupted(path, wanted)
    run, config = cut.run, cut.config
    check_code(config.model, path, trust=trust_code, known=known_code)
    if run.summary.is_file():
        run.read_summary()
        if config.track.report and not run.report.is_file():
            make_fabric(config.train)
            run_on_main(run.sweep)
            run_on_main(lambda: make_report(EvalSet(load_run(path, trust_code=True))))
        info(console, f"{path} is finished; nothing to resume")
        return run
    experiment = setup(
        config,
        console,
        record=read_split(run.split, data_root=config.data.root),
        all_classes=cut.retraining,
        from_checkpoint=cut.checkpoint is not None,
        trust_code=trust_code,
    )
    run_on_main(cut.prepare)
    with explain_lost_process():
        return _work(experiment, run, console, cut.checkpoint)


def _work(
    experiment: Experiment, run: RunFolder, console: Console, checkpoint: tuple[int, Any] | None
) -> RunFolder:
    with raise_together():
        tracker = _make_tracker(experiment.config, run) if is_main_process() else MultiTracker([])
    save_split(experiment, run)
    try:
        at = fit(experiment, run, tracker, console, resume=checkpoint)
        if experiment.config.retrain:
            experiment, at = retrain(experiment, run, tracker, console, at)
        if experiment.config.select == "last":
            at.best_epoch = experiment.sampler.epoch
        if experiment.config.select == "last" or at.retraining:
            save_weights(experiment, run)
        summary = _finish(experiment, run, at)
        summary["train_seconds"] = round(at.seconds, 1)
        tracker.summary({key: value for key, value in summary.items() if _is_number(value)})
        run_on_main(lambda: write_json(run.summary, summary))
        if experiment.config.track.report:
            run_on_main(lambda: _report(experiment, run, tracker, at))
    except (TrainingInterrupted, KeyboardInterrupt):
        info(console, _how_to_go_on(run))
        run_on_main(tracker.close)  # torchrun ends the others as soon as one has gone
        raise TrainingInterrupted from None
    finally:
        tracker.close()
    return run


def _report(experiment: Experiment, run: RunFolder, tracker: Tracker, at: Progress) -> None:
    for name, picture in make_pictures(make_report(_eval_set(experiment, run))).items():
        tracker.image(at.step, name, picture)


def _eval_set(experiment: Experiment, run: RunFolder) -> EvalSet:
    data = experiment.data
    record = record_of(data.table, data.splits)
    trained = Trained(
        run,
        experiment.config,
        experiment.fabric,
        experiment.model.eval(),
        data.transform,
        record,
        record.image_shape,
    )
    return EvalSet(trained, data)


def _how_to_go_on(run: RunFolder) -> str:
    world = world_size()
    start = "python" if world == 1 else f"torchrun --nproc_per_node {world}"
    command = f"{start} run.py train --resume {shlex.quote(str(run.path))}"
    if not list_checkpoints(run.checkpoints):
        return f"stopped before the first checkpoint; start it again with: {command}"
    return f"stopped; go on with: {command}"


def _finish(experiment: Experiment, run: RunFolder, at: Progress) -> dict[str, Any]:
    config, data = experiment.config, experiment.data
    fit_weights(experiment.model, read_weights(run.weights), run.weights)
    described = extract_split(
        experiment.fabric,
        experiment.model,
        data,
        data.splits.test,
        batch_size=config.evaluate.batch_size,
    )
    if not bool(described.queries.vectors.isfinite().all()):
        raise RunError(
            f"the descriptors of {run.weights} are not finite: training has diverged, though its "
            "loss was finite; lower train.lr and start a new run"
        )
    for pairs in all_gather_json(list(data.skipped.items())):
        data.skipped.update(pairs)
    return broadcast_from_main(lambda: _summarise(experiment, run, at, described))


def _summarise(
    experiment: Experiment, run: RunFolder, at: Progress, described: EvalDescriptors
) -> dict[str, Any]:
    config, data = experiment.config, experiment.data
    if data.skipped:
        skipped = {data.table.paths[row]: data.skipped[row] for row in sorted(data.skipped)}
        write_json(run.skipped, skipped)
    _eval_set(experiment, run).save(described)
    summary = score(described, config.evaluate, seed=config.train.seed)
    if config.evaluate.refine != "none":
        summary["refined"] = refine_and_score(
            experiment.model, described, config.evaluate, seed=config.train.seed
        )
    if config.evaluate.raw_pixels:
        summary["raw_pixels"] = score_raw_pixels(data.table, data.splits.test, config.evaluate)
    summary |= {"select": config.select, "epoch": at.best_epoch, "seed": config.train.seed}
    return summary | ({"retrained": True} if at.retraining else {})


def _make_tracker(config: Config, run: RunFolder) -> MultiTracker:
    trackers: list[Tracker] = [JsonlTracker(run.metrics)]
    if config.track.wandb != "disabled":
        trackers.append(_make_wandb(config, run))
    return MultiTracker(trackers)


def _make_wandb(config: Config, run: RunFolder) -> WandbTracker:
    track = config.track
    tracker = WandbTracker(
        track.wandb,
        project=track.project,
        entity=track.entity,
        name=run.path.name,
        group=track.group,
        # What was chosen on the test classes can be told apart wherever runs are listed.
        tags=(*track.tags, *(["select=test"] if config.select == "test" else [])),
        run_dir=run.path,
        config=config_to_dict(config),
        run_id=read_json(run.wandb).get("id") if run.wandb.is_file() else None,
    )
    if tracker.run_id is not None:
        write_json(run.wandb, {"id": tracker.run_id})
    return tracker


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
