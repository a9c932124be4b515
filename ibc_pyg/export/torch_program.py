"""Program of torch.export, which runs without this package."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch

from ibc_pyg.errors import RunError, first_line, printable
from ibc_pyg.export.descriptor import descriptor_of, example_of, preprocessing
from ibc_pyg.export.golden import check_run, network_of
from ibc_pyg.files import write_atomically
from ibc_pyg.inference.trained import Trained


def export_torch(trained: Trained, path: Path) -> float:
    """Write the network of a run for `torch.export.load`, any batch size.

    The extra file `ibc_pyg.json` of the archive holds the preprocessing.

    Args:
        trained: The run.
        path: The file, written if the network agrees with the run.

    Returns:
        Largest difference of a coordinate to the run.

    Raises:
        RunError: If the network cannot be exported, it differs by more than the tolerance, or the
            file cannot be written.
    """
    module, content = descriptor_of(trained), io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            program = torch.export.export(module, (example_of(trained),), dynamic_shapes=shapes)
            # The example is kept by a pickle, and nothing needs it.
            program.example_inputs = None
            extra = {"ibc_pyg.json": json.dumps(preprocessing(trained))}
            torch.export.save(program, content, extra_files=extra)
    except Exception as error:
        raise RunError(
            f"{printable(trained.run.path)} cannot be exported: {first_line(error)}"
        ) from error
    stored = torch.export.load(io.BytesIO(content.getvalue())).module()
    worst = check_run(trained, network_of(stored))
    write_atomically(path, content.getvalue())
    return worst
