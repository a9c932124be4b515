"""Actions that build an index with many processes: plan, work, merge."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ibc_pyg.commands.index.options import (
    add_ann,
    add_model,
    add_pictures,
    add_weights,
    check_batch_size,
    check_weights,
    wanted_recall,
)
from ibc_pyg.commands.options.numbers import whole
from ibc_pyg.commands.options.process import keep_freed_memory


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    plan = actions.add_parser(
        "plan", help="divide pictures into parts, for any number of workers", allow_abbrev=False
    )
    plan.add_argument(
        "model", metavar="MODEL", help="run folder, timm:NAME, or a network of torchvision"
    )
    plan.add_argument(
        "images",
        metavar="IMAGES",
        help="folder, CSV file, name of a data set, tar files ('DIR/*.tar', DIR/{000..099}.tar), "
        "or a URL of these such as s3://BUCKET/PATH",
    )
    plan.add_argument(
        "--shards", type=whole(1, 500_000), required=True, metavar="N", help="number of parts"
    )
    plan.add_argument("--out", type=Path, required=True, metavar="JOB", help="folder of the job")
    add_pictures(plan)
    add_weights(plan)
    plan.set_defaults(act=_plan)

    work = actions.add_parser(
        "work", help="embed the parts of a job that are missing", allow_abbrev=False
    )
    work.add_argument("job", type=Path, metavar="JOB")
    work.add_argument(
        "--shard",
        metavar="I/N",
        help="take every N-th part, from part I (default: as set by torchrun or SLURM, or all)",
    )
    add_model(work)
    work.set_defaults(act=_work, takes_processes=True)

    merge = actions.add_parser("merge", help="merge the parts into an index", allow_abbrev=False)
    merge.add_argument("job", type=Path, metavar="JOB")
    merge.add_argument("--out", type=Path, required=True, metavar="INDEX", help="its folder")
    add_ann(merge)
    merge.set_defaults(act=_merge)


def _plan(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.retrieval.shards.job import plan_job

    check_batch_size(arguments)
    job = plan_job(
        arguments.model,
        arguments.images,
        arguments.out,
        arguments.shards,
        root=arguments.root,
        part=arguments.part,
        weights=arguments.weights,
        trust_code=arguments.trust_code,
        batch_size=arguments.batch_size,
    )
    out = console()
    info(out, f"{job.source}: {job.pictures:,} files in {len(job.lists):,} parts")
    info(out, f"embed them, in any number of processes: {program()} index work {job.folder}")
    return 0


def _work(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.parallel.processes import on_its_own
    from ibc_pyg.retrieval.shards.job import Job
    from ibc_pyg.retrieval.shards.share import Share
    from ibc_pyg.retrieval.shards.work import open_job_model, work_on, worker_device

    check_weights(arguments)
    given = arguments.shard
    share = Share.from_environment() if given is None else Share.parse(given)
    keep_freed_memory()
    out = console()
    with on_its_own():  # torchrun starts the workers, which need no group
        job = Job.open(arguments.job)
        embedder = open_job_model(
            job, arguments.model, weights=arguments.weights, trust_code=arguments.trust_code
        )
        device = worker_device()
        report = work_on(job, embedder if device is None else embedder.to(device), share, out)
    info(
        out,
        f"share {share.index}/{share.count}: {report.done:,} parts done, {report.kept:,} were "
        f"there; {report.embedded:,} embedded, {report.skipped:,} skipped",
    )
    info(out, f"when all are done: {program()} index merge {arguments.job} --out INDEX")
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.retrieval.ann.record import AnnSettings
    from ibc_pyg.retrieval.shards.job import Job
    from ibc_pyg.retrieval.shards.merge import merge_job

    settings, out = AnnSettings(arguments.ann or "auto", wanted_recall(arguments)), console()
    report = merge_job(Job.open(arguments.job), arguments.out, settings, console=out)
    info(out, f"{arguments.out}: {report}")
    info(out, f"search: {program()} search {arguments.out} PICTURE")
    return 0
