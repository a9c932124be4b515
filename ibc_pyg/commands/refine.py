"""Train a refiner for a finished run: message passing over nearest neighbours at search time.

It learns on descriptors of training classes. With --folds 2 or more, networks of the same
experiment are trained with a fold of these classes held out, so that descriptors come from networks
that were not trained on their classes. `evaluate RUN_DIR --refine refiner` scores the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.options.data_fields import add_data_fields, data_fields
from ibc_pyg.commands.options.numbers import whole
from ibc_pyg.commands.options.process import keep_freed_memory
from ibc_pyg.commands.options.trust import add_trust_code

if TYPE_CHECKING:
    from rich.console import Console

    from ibc_pyg.inference.trained import Trained
    from ibc_pyg.refinement.learned.fit import Gallery

NAME = "refine"
HELP = "train a refiner of descriptors for a run"

_NUMBERS = ("temperature", "first_hit", "lr", "training_share")
_COUNTS = ("k", "rounds", "steps", "hidden", "heads", "episodes", "receivers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    add(
        "--folds",
        type=whole(1, 20),
        default=2,
        help="networks to train, each without a fold of 8 or more training classes; 1: use the "
        "run's own descriptors of the classes that it was trained on (default: 2)",
    )
    add(
        "--fold-runs",
        type=Path,
        nargs="+",
        metavar="RUN_DIR",
        help="runs with select: val whose held-out classes are used, instead of training any",
    )
    add("--seed", type=whole(0, 2**31 - 1), default=0, help="seed of the refiner (default: 0)")
    add(
        "--conv",
        help="graph layer: LearnedEdges, none, IntraBatchConv or a layer of torch_geometric.nn "
        "(default: LearnedEdges)",
    )
    for name in _COUNTS:
        add(f"--{name}", type=int, metavar="N", help="see docs/refiner.md")
    for name in _NUMBERS:
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=float, metavar="X", help="see docs/refiner.md")
    add_trust_code(parser, "the run")
    add_data_fields(parser)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    keep_freed_memory()
    fields = data_fields(rest, NAME)
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.nn.weights import weights_hash
    from ibc_pyg.refinement.learned.config import RefinerConfig
    from ibc_pyg.refinement.learned.files import save_refiner
    from ibc_pyg.refinement.learned.fit import fit_refiner

    names = ("conv", *_COUNTS, *_NUMBERS)
    given = {name: getattr(arguments, name) for name in names}
    config = RefinerConfig(**{name: value for name, value in given.items() if value is not None})
    out = console()
    trained = load_run(arguments.run_dir, trust_code=arguments.trust_code, fields=fields)
    galleries = _galleries(arguments, trained, fields, out)
    fitted = fit_refiner(galleries, config, seed=arguments.seed)
    weights = weights_hash(trained.model.backbone)
    record = {
        "seed": arguments.seed,
        "folds": len(arguments.fold_runs or ()) or arguments.folds,
        "held_out_plain": vars(fitted.plain),
        "held_out_refined": vars(fitted.chosen),
    }
    path = save_refiner(trained.run.path, fitted.refiner, weights=weights, record=record)
    plain, chosen = fitted.plain, fitted.chosen
    info(
        out,
        f"held-out training classes: R@1 {100 * plain.recall:.1f}, MAP@R "
        f"{100 * plain.precision:.1f}; refined {100 * chosen.recall:.1f}, "
        f"{100 * chosen.precision:.1f} with a share of {chosen.share:g} unrefined",
    )
    info(out, f"refiner: {path}")
    return 0


def _galleries(
    arguments: argparse.Namespace, trained: Trained, fields: Sequence[str], out: Console
) -> list[Gallery]:
    """Embed training classes by the networks that the options ask for."""
    from ibc_pyg.api import train
    from ibc_pyg.builders.plugged import check_code
    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.refinement.learned.galleries import (
        fold_config,
        held_out_gallery,
        training_gallery,
    )

    trust, count = bool(arguments.trust_code), int(arguments.folds)
    folders: list[Path] = list(arguments.fold_runs or [])
    if not folders and count == 1:
        return [training_gallery(trained)]
    if not folders:
        # The folds are trained, which imports more than opening the run did.
        check_code(trained.config, trained.run.path, trust=trust)
        _check_classes(EvalSet(trained).splits.num_classes, count)
        run = trained.run.path.resolve()
        for fold in range(count):
            folder = run.with_name(f"{run.name}-folds") / f"fold-{fold}-of-{count}"
            if not (folder / "summary.json").is_file():
                config = fold_config(trained.config, fold, count)
                train(config, out=folder, resume=True, progress=not out.quiet)
            folders.append(folder)
    return [
        held_out_gallery(load_run(folder, trust_code=trust, fields=fields)) for folder in folders
    ]


def _check_classes(count: int, folds: int) -> None:
    """Raise RunError if a fold would have too few training classes."""
    from ibc_pyg.errors import RunError
    from ibc_pyg.refinement.learned.fit import LEAST_OF_A_GALLERY

    if count >= LEAST_OF_A_GALLERY * folds:
        return
    advice = "; use --folds 1" if count >= LEAST_OF_A_GALLERY else ""
    raise RunError(
        f"--folds {folds} needs {LEAST_OF_A_GALLERY * folds} or more training classes, and the run "
        f"has {count}{advice}"
    )
