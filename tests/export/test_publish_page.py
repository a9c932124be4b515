"""docs/publish.md: its commands and Python run; exported forms run without ibc_pyg and network."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ibc_pyg.builders.model import build_model
from ibc_pyg.cli import run
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.export import pillow_input
from ibc_pyg.runs.run_folder import RunFolder
from tests.helpers.index_pictures import FINISHED_RUN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "publish.md"
TEXT = PAGE.read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
FUNCTIONS, ONNX = PYTHON[1:]


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FINISHED_RUN, "runs/sample")
    make_sample("folder", Path("pictures"))
    names = {}
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", TEXT, flags=re.S):
        if language == "python":
            exec(block, names)
            continue
        for line in block.strip().splitlines():
            program, script, *words = shlex.split(line)
            assert (program, script) == ("python", "run.py")
            assert run(words) == 0, f"{line}\n{capsys.readouterr()}"
    found = json.loads(Path("published/golden/golden.json").read_text())["pictures"][0]
    np.testing.assert_allclose(names["vector"], found["descriptor"], atol=1e-5)
    assert alone(FUNCTIONS + ONNX, tmp_path) < 1e-5


def test_the_functions_are_those_of_the_package():
    assert FUNCTIONS.strip() in Path(pillow_input.__file__).read_text()


ALONE = """
import sys
sys.path.append(PACKAGES)
for name in ("ibc_pyg", *BLOCKED):
    sys.modules[name] = None
"""
TIMM = """
import timm
import torch

spec = json.loads(Path("published/preprocess.json").read_text())
golden = json.loads(Path("published/golden/golden.json").read_text())
network = timm.create_model("local-dir:published/timm", pretrained=True).eval()
mean, std = (torch.tensor(spec[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
pixels = torch.from_numpy(read_pixels("published/golden/a.png", spec))
with torch.no_grad():
    vector = torch.nn.functional.normalize(network((pixels / 255 - mean) / std))[0].numpy()
print(np.abs(vector - golden["pictures"][0]["descriptor"]).max())
"""


def alone(code, folder, blocked=("torch", "torchvision")):
    """Run code without ibc_pyg, and without a network where the system allows it."""
    packages = sysconfig.get_paths()["purelib"]
    head = ALONE.replace("PACKAGES", repr(packages)).replace("BLOCKED", repr(blocked))
    cut = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*cut, "true"], check=False).returncode:
        cut = []
    command = [*cut, sys.executable, "-I", "-S", "-c", head + code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize(
    "name",
    [pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow), "tf_efficientnet_lite0"],
)
def test_timm_reads_its_folder_alone(name, tmp_path):
    pytest.importorskip("timm")
    fields = ["--data.name", "folder", "--data.root", str(tmp_path), "--model.steps", "0"]
    fields += ["--data.transform", "mobilenet_tf", "--model.embedding_dim", "16"]
    fields += ["--data.transform_args", "{image_size: 224, resize: 256}"]
    config = parse_config(None, [*fields, "--model.backbone", f"timm:{name}"])
    torch.manual_seed(0)
    state = build_model(config.model, num_classes=3, channels=3).state_dict()
    made = RunFolder.create(tmp_path / "run", config_yaml=config_to_yaml(config))
    save_file({key: value.contiguous() for key, value in state.items()}, made.weights)
    out = tmp_path / "published"
    assert run(["export", str(made.path), "--format", "hub", "--out", str(out)]) == 0
    parity = json.loads((out / "golden" / "golden.json").read_text())["parity"]
    assert parity["torch"]["grey levels"] == 0
    assert max(parity[form]["difference"] for form in ("torch", "onnx", "timm")) <= 1e-5
    assert alone(FUNCTIONS + "import json\n" + TIMM, tmp_path, ()) < 1e-5
