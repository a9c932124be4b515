"""Refinement at search time: the trained refiner and its control beside methods without weights.

python benchmarks/refiner.py --train FOLD_RUN [FOLD_RUN] --test RUN [RUN] --name NAME --json FILE

Descriptors are those of runs, or npz files as from `evaluate --save-embeddings` with `embeddings`
and `labels`. A run of --train held out the training classes that are embedded (select: val); those
of --test embed test classes, and with message passing also refine them as released. Every method
gets six trials on held-out training classes; of each, the share of the unrefined descriptor is
chosen too. With one set of test classes the refiner is trained with several seeds; with several, of
networks that were trained with several seeds, once for each, and all differences are paired.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _output import write_outputs
from _timing import machine
from scipy import stats
from torch import Tensor

from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.refined.refine import refine
from ibc_pyg.inference.trained import load_run
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.fit import Gallery, halves, train_refiner
from ibc_pyg.refinement.learned.galleries import held_out_gallery
from ibc_pyg.refinement.method import refine_vectors, rerank
from ibc_pyg.refinement.parameters import Parameters

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
SEEDS = (1, 2, 3, 4, 5)
VECTORS = {
    "aqe": [(5, 3, 1), (10, 3, 1), (10, 5, 1), (20, 3, 1), (10, 5, 2), (20, 5, 2)],
    "dba": [(5, 3, 1), (10, 3, 1), (10, 5, 2), (20, 3, 1), (20, 5, 2), (30, 5, 2)],
    "gcr": [(5, 1, 2), (10, 1, 2), (10, 3, 2), (20, 1, 2), (20, 3, 2), (10, 1, 3)],
}
LISTS = {
    "diffusion": [
        (10, 3, 20, 0.1), (20, 3, 20, 0.1), (20, 3, 20, 0.5), (30, 3, 20, 0.1), (20, 1, 20, 0.1),
        (10, 3, 20, 0.5),
    ],
    "gnn": [
        (10, 4, 2, 0.1), (20, 4, 2, 0.1), (10, 2, 2, 0.1), (10, 4, 2, 0.5), (20, 2, 2, 0.1),
        (10, 4, 1, 0.1),
    ],
    "k_reciprocal": [
        (10, 1, 1, 0.3), (20, 1, 1, 0.1), (20, 1, 1, 0.3), (20, 1, 1, 0.6), (30, 1, 1, 0.3),
        (30, 1, 1, 0.6),
    ],
}  # fmt: skip
LEARNED = [  # neighbours, weight of the first hit, temperature
    (20, 8.0, 0.1),
    (30, 8.0, 0.1),
    (20, 1.0, 0.1),
    (30, 1.0, 0.2),
    (20, 16.0, 0.1),
    (15, 8.0, 0.1),
]

Score = tuple[float, float]
Setting = tuple[Any, ...]


def _ranked(indices: Tensor, labels: Tensor) -> Score:
    """Return R@1 and MAP@R of lists without the query itself."""
    matches = labels.bincount()[labels] - 1  # [N]
    length = int(matches.max())
    hit = (labels[indices[:, :length]] == labels[:, None]).float()  # [N, R]
    precision = hit.cumsum(1) / torch.arange(1, length + 1)
    inside = torch.arange(length) < matches[:, None]
    mean = (precision * hit * inside).sum(1) / matches.clamp(min=1)
    kept = matches > 0
    return 100 * float(hit[kept, 0].mean()), 100 * float(mean[kept].mean())


def _nearest(queries: Tensor, gallery: Tensor, length: int) -> Tensor:
    found = []
    for rows in torch.arange(len(queries)).split(1024):
        similarity = queries[rows] @ gallery.T
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        found.append(similarity.topk(length).indices)
    return torch.cat(found)


def _by_shares(
    x: Tensor, refined: tuple[Tensor, Tensor], labels: Tensor, shares: Sequence[float]
) -> dict[float, Score]:
    """Score shares of the unrefined cosine beside the refined one."""
    length = int(labels.bincount().max()) - 1
    found: dict[float, list[Tensor]] = {share: [] for share in shares}
    for rows in torch.arange(len(x)).split(1024):
        plain, other = x[rows] @ x.T, refined[0][rows] @ refined[1].T  # [n, N]
        for share in shares:
            both = share * plain + (1 - share) * other
            both[torch.arange(len(rows)), rows] = -torch.inf
            found[share].append(both.topk(length).indices)
    return {share: _ranked(torch.cat(parts), labels) for share, parts in found.items()}


def _vectors(
    name: str, setting: Setting, gallery: Gallery, shares: Sequence[float] = SHARES
) -> dict[float, Score]:
    found = refine_vectors(name, gallery.vectors, None, Parameters(*setting, 0.0))
    other = found.queries if found.gallery is None else found.gallery
    return _by_shares(gallery.vectors, (found.queries, other), gallery.labels, shares)


def _lists(
    name: str, setting: Setting, gallery: Gallery, _: Sequence[float] = ()
) -> dict[float, Score]:
    length = int(gallery.labels.bincount().max()) - 1
    lists = rerank(name, gallery.vectors, None, length, Parameters(*setting))
    return {setting[3]: _ranked(lists, gallery.labels)}


def _config(setting: Setting, conv: str, steps: int) -> RefinerConfig:
    k, first_hit, temperature = setting
    return RefinerConfig(conv=conv, k=k, first_hit=first_hit, temperature=temperature, steps=steps)


def _learned(
    config: RefinerConfig,
    train: Sequence[Gallery],
    tests: Sequence[Gallery],
    seed: int,
    shares: Sequence[float] = SHARES,
) -> list[dict[float, Score]]:
    refiner, out = train_refiner(train, config, seed=seed), []
    for gallery in tests:
        refined = refiner.gallery(gallery.vectors).refined
        out.append(_by_shares(gallery.vectors, (refined, refined), gallery.labels, shares))
    return out


def _mean(scores: Sequence[dict[float, Score]]) -> dict[float, Score]:
    return {
        share: tuple(np.mean([each[share] for each in scores], axis=0))  # type: ignore[misc]
        for share in scores[0]
    }


def _choose(trials: dict[Setting, dict[float, Score]], least: float) -> tuple[Setting, float]:
    """Return the setting and share of the highest MAP@R among those of enough R@1."""
    every = [
        (score, setting, share) for setting, by in trials.items() for share, score in by.items()
    ]
    kept = [each for each in every if each[0][0] >= least]
    best = max(kept, key=lambda e: e[0][1]) if kept else max(every, key=lambda e: e[0])
    return best[1], best[2]


def _read(path: Path, *, held_out: bool) -> tuple[Gallery, Tensor | None]:
    """Return descriptors of an npz file or a run, and those refined by the MPN of the run."""
    if path.is_file():
        with np.load(path) as file:
            x, y = torch.from_numpy(file["embeddings"]), torch.from_numpy(file["labels"])
        return Gallery(torch.nn.functional.normalize(x.float(), dim=1), y.long()), None
    trained = load_run(path)
    if held_out:
        return held_out_gallery(trained), None
    found = EvalSet(trained).extract()
    gallery = Gallery(found.queries.vectors.float(), found.queries.labels.long())
    if trained.model.mpn is None:
        return gallery, None
    refined = refine(trained.model, found, "mpn", trained.config.evaluate.refine_size)
    return gallery, refined.queries.vectors


def measure(args: argparse.Namespace) -> dict[str, Any]:
    folds = [_read(path, held_out=True)[0] for path in args.train]
    read = [_read(path, held_out=False) for path in args.test]
    tests = [test for test, _ in read]
    parts = [halves(fold) for fold in folds]
    far, held = [part[0] for part in parts], [part[1] for part in parts]

    def plain(gallery: Gallery) -> Score:
        length = int(gallery.labels.bincount().max()) - 1
        return _ranked(_nearest(gallery.vectors, gallery.vectors, length), gallery.labels)

    floor = float(np.mean([plain(each)[0] for each in held]))
    rules = {"R@1 kept": floor, "MAP@R alone": 0.0}
    found = [plain(test) for test in tests]
    rows: dict[str, Any] = {"plain": {"test": dict.fromkeys(rules, found)}}
    mpn = [plain(Gallery(x, test.labels)) for test, x in read if x is not None]
    if mpn:
        rows["MPN as released"] = {"test": dict.fromkeys(rules, mpn)}
    kinds: list[tuple[dict[str, list[Setting]], Callable[..., dict[float, Score]]]]
    kinds = [(VECTORS, _vectors), (LISTS, _lists)]
    for methods, score in kinds:
        for name, settings in methods.items():
            if name in args.without:
                continue
            trials = {s: _mean([score(name, s, each) for each in held]) for s in settings}
            row: dict[str, Any] = {"chosen": {}, "test": {}}
            picks = {rule: _choose(trials, least) for rule, least in rules.items()}
            done = {}
            for setting, share in set(picks.values()):
                done[setting, share] = [score(name, setting, t, (share,))[share] for t in tests]
            for rule, (setting, share) in picks.items():
                row["chosen"][rule] = [*setting[:3], share]
                row["test"][rule] = done[setting, share]
            rows[name] = row
            print(name, row, flush=True)
    trials = {}
    for setting in args.settings or LEARNED:
        found = _learned(_config(setting, "LearnedEdges", args.steps), far, held, 0)
        trials[setting] = _mean(found)
        print(setting, trials[setting], flush=True)
    for name, conv in (("refiner", "LearnedEdges"), ("refiner, no messages", "none")):
        if conv == "none":
            trials = {
                s: _mean(_learned(_config(s, conv, args.steps), far, held, 0)) for s in trials
            }
        row = {"chosen": {}, "test": {rule: [] for rule in rules}}
        picks = {rule: _choose(trials, least) for rule, least in rules.items()}
        row["chosen"] = {rule: [*pick[0], pick[1]] for rule, pick in picks.items()}
        for number in range(args.seeds if len(tests) == 1 else len(tests)):
            by: dict[Setting, dict[float, Score]] = {}
            test = tests[number % len(tests)]
            for rule, (setting, share) in picks.items():
                if setting not in by:
                    config = _config(setting, conv, args.steps)
                    shares = sorted({s for each, s in picks.values() if each == setting})
                    by[setting] = _learned(config, folds, [test], SEEDS[number], shares)[0]
                row["test"][rule].append(by[setting][share])
        rows[name] = row
        print(name, row, flush=True)
    return {
        "name": args.name, "held_out_plain": floor, "networks": len(tests), "rows": rows,
    }  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    number = report["networks"]
    over = "over seeds of the refiner, one network" if number == 1 else f"over {number} networks"
    lines = [
        f"{report['name']}: R@1 / MAP@R in percent on the test classes; mean ± half of the 95 % "
        f"interval (Student's t), {over}.",
        "",
        "| method | R@1 kept | MAP@R alone |",
        "|---|---|---|",
    ]
    rules = ("R@1 kept", "MAP@R alone")
    rows = report["rows"]
    for name, row in rows.items():
        cells = [_cell(row["test"][rule]) for rule in rules]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    free = [name for name in rows if name in {**VECTORS, **LISTS}]
    for rule in rules:
        scores = {name: np.array(row["test"][rule]) for name, row in rows.items()}
        best = max(free, key=lambda name: scores[name][:, 1].mean())
        pairs = scores["refiner"] - scores[best]  # [networks or seeds, 2]
        above = (scores["refiner"] - scores["plain"])[:, :1]
        lines += [
            "",
            f"{rule}: refiner less {best}, the best without weights on the test classes: "
            f"{_cell(pairs, signed=True)}; R@1 less plain {_cell(above, signed=True)}.",
        ]
    chosen = "; ".join(
        f"{name} {row['chosen'][rules[0]]} and {row['chosen'][rules[1]]}"
        for name, row in rows.items()
        if "chosen" in row
    )
    lines += [
        "",
        "Chosen on held-out training classes (k, power, rounds, share; of the refiners k, weight "
        f"of the first hit, temperature, share): {chosen}.",
        "",
        f"Command: `{report['command']}`; {described}.",
        "",
    ]
    return "\n".join(lines)


def _cell(values: Any, *, signed: bool = False) -> str:
    columns = np.array(values)  # [n, metrics]
    n, form = len(columns), "+.1f" if signed else ".1f"
    out = []
    for column in columns.T:
        text = format(float(column.mean()), form)
        if n > 1:
            half = stats.t.ppf(0.975, n - 1) * column.std(ddof=1) / n**0.5
            text += f" ± {half:.1f}"
        out.append(text)
    return " / ".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--train", type=Path, nargs="+", required=True, help="descriptors of training classes")
    add("--test", type=Path, nargs="+", required=True, help="descriptors of test classes")
    add("--name", required=True, help="what the descriptors are")
    add("--seeds", type=int, default=5, help="seeds of the refiner for one test (default: 5)")
    add("--steps", type=int, default=80, help="steps of each round (default: 80)")
    add(
        "--settings",
        type=lambda text: tuple(float(v) if "." in v else int(v) for v in text.split(",")),
        nargs="+",
        help="trials of the refiner as K,FIRST_HIT,TEMPERATURE",
    )
    add("--without", nargs="*", default=[], metavar="METHOD", help="methods to leave out")
    add("--json", type=Path, help="write the report as JSON")
    add("--markdown", type=Path, help="write the table")
    args = parser.parse_args()
    start = time.perf_counter()
    report = measure(args)
    report["seconds"] = round(time.perf_counter() - start)
    report["machine"] = machine(torch.device("cpu"))
    words = [Path(word).name if word.endswith(".npz") else word for word in sys.argv[1:]]
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not {before, word} & {"--json", "--markdown"}
    ]
    report["command"] = "python " + shlex.join(["benchmarks/refiner.py", *kept])
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()
