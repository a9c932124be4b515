"""Explain why a model finds two pictures alike, and what the images of a batch attend to.

With one picture, the other one is the most similar test image of the run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.options.data_fields import add_data_fields, data_fields
from ibc_pyg.commands.options.trust import add_trust_code

if TYPE_CHECKING:
    from ibc_pyg.data.images.pictures import Picture
    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.report.data import AttentionMap, BatchGraph

NAME = "explain"
_SAME = 0.99999
_NO_BATCH = (
    "There is no batch to show: its images cannot be read, or the run has no message passing on "
    "the complete graph with attention weights."
)
HELP = "show what makes two pictures alike, and the attention in a batch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a picture")
    parser.add_argument("other", type=Path, nargs="?", metavar="IMAGE2", help="another picture")
    parser.add_argument(
        "--html",
        type=Path,
        default=Path("explanation.html"),
        metavar="FILE",
        help="the page (default: explanation.html)",
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="also write one picture")
    add_trust_code(parser, "the run")
    add_data_fields(parser)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.errors import DatasetError, UserError, printable
    from ibc_pyg.explain.pair import explain_pair
    from ibc_pyg.inference.embedder import Embedder
    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.report.explanation import (
        Explanation,
        write_explanation,
        write_explanation_picture,
    )

    fields = data_fields(rest, NAME)
    pictures = [arguments.image, *([arguments.other] if arguments.other else [])]
    for picture in pictures:
        if not picture.is_file():
            raise UserError(f"{printable(picture)} is not a file; give a picture")
    outputs = [arguments.html, arguments.png]
    check_outputs(outputs, inputs=pictures, runs=[arguments.run_dir])
    trained = load_run(arguments.run_dir, trust_code=arguments.trust_code, fields=fields)
    images = EvalSet(trained)
    try:
        other: Picture = arguments.other
        name, label = ("", "") if arguments.other is None else (arguments.other.name, "")
        if arguments.other is None:
            other, name, label = _most_similar(images, arguments.image)
        pair = explain_pair(Embedder.of(trained), arguments.image, other)
    except DatasetError as error:
        raise UserError(f"{str(error).partition(';')[0]}; give another picture") from error
    attention, graph, reason = _batch(images)
    names = (arguments.image.name, name)
    explanation = Explanation(pair, names, ("", label), attention, graph, reason)
    out = console()
    info(out, f"cosine {pair.cosine:.4f}. {pair.method}")
    if reason:
        info(out, reason)
    write_explanation(arguments.html, explanation, " and ".join(names))
    info(out, f"written: {arguments.html}")
    if arguments.png:
        write_explanation_picture(arguments.png, explanation)
        info(out, f"written: {arguments.png}")
    return 0


def _most_similar(images: EvalSet, picture: Path) -> tuple[Picture, str, str]:
    """Return the test image most similar to a picture that is not the same, its name and class."""
    import torch

    from ibc_pyg.inference.embedder import Embedder
    from ibc_pyg.metrics import nearest_neighbours

    gallery = images.gallery()
    query = torch.from_numpy(Embedder.of(images.trained).embed([picture]).copy())  # [1, D]
    found = nearest_neighbours(query, gallery.vectors, k=min(10, len(gallery.vectors)))
    rows, scores = gallery.rows[found.indices[0].numpy()], found.scores[0]
    different = [int(row) for row, score in zip(rows, scores, strict=True) if score < _SAME]
    row = different[0] if different else int(rows[0])
    name = Path(images.path(row)).name
    if images.table.root is None:
        held = images.data.table.images
        assert held is not None
        return held[row], name, images.label(row)
    return Path(images.path(row)), name, images.label(row)


def _batch(images: EvalSet) -> tuple[AttentionMap | None, BatchGraph | None, str]:
    """Return attention and graph of a batch of test images, or the reason why there is none."""
    import numpy as np

    from ibc_pyg.errors import UserError
    from ibc_pyg.explain.batch import batch_attention
    from ibc_pyg.report.from_run import Thumbnails, attention_map, batch_graph

    if images.splits.test is None:
        return None, None, "The run has no test images, so there is no batch to show."
    try:
        found = images.descriptors()
    except UserError as error:
        return None, None, f"There is no batch to show: {error}."
    rows = np.union1d(found.queries.rows, found.candidates.rows)
    batch = batch_attention(images, rows)
    if batch is None:
        return None, None, _NO_BATCH
    return attention_map(batch), batch_graph(batch, Thumbnails(images)), ""
