"""All files of a run have the permissions that the umask allows."""

import os
import stat

import pytest

from ibc_pyg.cli import run as cli
from tests.helpers.digits_run import OPTIONS

SHORT = ["--train.epochs", "1", "--train.lr_milestones", "[]", "--evaluate.clustering", "false"]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644)])
def test_files_of_a_run_are_those_of_the_umask(tmp_path, umask, mode):
    experiment = tmp_path / "e.yaml"
    experiment.write_text("select: last\n")
    out = tmp_path / "out"
    before = os.umask(umask)
    try:
        assert cli(["train", str(experiment), *OPTIONS, *SHORT, "--out", str(out)]) == 0
        words = ["evaluate", str(out), "--json", str(out / "e.json")]
        assert cli([*words, "--save-embeddings", str(out / "e.npz")]) == 0
        assert cli(["report", str(out)]) == 0
    finally:
        os.umask(before)
    modes = {
        str(each.relative_to(out)): stat.S_IMODE(each.stat().st_mode)
        for each in [out, *out.rglob("*")]
    }
    assert {modes.pop(name) for name in list(modes) if (out / name).is_dir()} == {0o777 & ~umask}
    wanted = {"config.yaml", "model.safetensors", "metrics.jsonl", "report.html", "e.npz"}
    assert wanted <= modes.keys()
    assert any(name.startswith("checkpoints") for name in modes)
    assert set(modes.values()) == {mode}
