"""Published folders: strict loading, equal descriptors, a valid card, replacement in one step."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import ibc_pyg
from ibc_pyg.builders.model import build_model
from ibc_pyg.cli import run
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.errors import RunError
from ibc_pyg.export.hub import publish
from ibc_pyg.export.swap import new_folder
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.published import is_published
from ibc_pyg.inference.trained import load_run
from ibc_pyg.retrieval.calibration import thresholds
from ibc_pyg.runs.run_folder import RunFolder
from tests.helpers.index_pictures import FINISHED_RUN
from tests.helpers.model_hub import model_hub

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    options = ["--data.name", "glyphs", "--model.steps", "0", "--model.embedding_dim", "16"]
    config = parse_config(None, options)
    model = build_model(config.model, num_classes=3, channels=1)
    made = RunFolder.create(
        tmp_path_factory.mktemp("hub") / "run", config_yaml=config_to_yaml(config)
    )
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, made.weights)
    out = made.path.parent / "published"
    assert run(["export", str(made.path), "--format", "hub", "--out", str(out)]) == 0
    return out


@pytest.fixture
def copy(folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def test_descriptors_equal_those_of_the_run(folder):
    pictures = folder / "golden"
    found = np.asarray(ibc_pyg.load(folder).embed(pictures))
    expected = np.asarray(ibc_pyg.load(folder.parent / "run").embed(pictures))
    np.testing.assert_array_equal(found, expected)
    golden = json.loads((pictures / "golden.json").read_text())
    np.testing.assert_allclose(
        found, [each["descriptor"] for each in golden["pictures"]], atol=1e-6
    )
    assert golden["parity"]["onnx"]["difference"] <= 1e-4


def test_card_is_valid_and_its_snippet_runs(folder, monkeypatch, capsys):
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "ibc-pyg"
    assert "not measured" in card.text
    assert "More Information Needed" not in card.text
    monkeypatch.chdir(folder)
    exec(card.text.split("```python\n")[1].split("```")[0], {})
    assert "1." in capsys.readouterr().out


def test_torch_program_runs(folder, tmp_path):
    out = tmp_path / "model.pt2"
    made = folder.parent / "run"
    assert run(["export", str(made), "--format", "torch", "--out", str(out)]) == 0
    program = torch.export.load(out).module()
    pixels = torch.rand(7, 1, 28, 28) * 255
    trained = load_run(made)
    expected = trained.model.embed((pixels / 255 - 0.15) / 0.3)
    torch.testing.assert_close(program(pixels), expected, atol=1e-5, rtol=0)


def export(run_dir, out, *more):
    return run(["export", str(run_dir), "--format", "hub", "--out", str(out), *more])


def test_card_of_a_finished_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(thresholds, "MOST_OF_CLASS", 1000)  # all pairs
    source = tmp_path / "sweep" / "row" / "seed-0"
    shutil.copytree(FINISHED_RUN, source)
    summary = json.loads((source / "summary.json").read_text())
    estimate = {"mean": 0.375, "sd": 0.1, "half_width": 0.125, "count": 2}
    values = {key: [summary[key], 0.1] for key in ("R@1", "MAP@R")}
    row = {"seeds": [0, 1], "values": values, "metrics": {"R@1": estimate}}
    (tmp_path / "sweep" / "table.json").write_text(json.dumps({"rows": [row], "floor": 0.25}))
    assert export(source, tmp_path / "out", "--license", "mit") == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "mit"
    found = {each.metric_type: each.metric_value for each in card.data.eval_results}
    assert found == {key: summary[key] for key in found}
    assert {"R@1", "R@8", "MAP@R", "RP", "NMI"} <= set(found)
    assert "0.375 ± 0.125, 2 seeds" in card.text
    assert "R@1 of raw pixels: 0.25" in card.text
    labels, vectors = run_descriptors(source)
    same = labels[:, None] == labels[None]
    cosines = vectors @ vectors.T
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    for line in re.findall(r"^\| (0\.\S+) \| (\S+) \| (\S+) \|$", card.text, flags=re.M):
        far, least, tar = map(float, line)
        assert (cosines[upper & ~same] >= least).mean() <= far
        assert (cosines[upper & same] >= least).mean() == pytest.approx(tar, abs=1e-3)
    assert "| 0.01 |" in card.text
    assert export(source, tmp_path / "out", "--license", "no licence") == 2
    assert "--license is an identifier" in capsys.readouterr().err


def run_descriptors(path):
    found = EvalSet(load_run(path)).descriptors().queries
    return found.labels.numpy(), found.vectors.numpy()


def pickles(path):
    """Yield the members of files that begin with the opcode of a pickle's protocol."""
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                contents = {name: archive.read(name) for name in archive.namelist()}
        else:
            contents = {"": file.read_bytes()}
        for name, content in contents.items():
            if re.match(rb"\x80[\x02-\x05]", content) or name.endswith((".pkl", ".pickle")):
                yield f"{file}:{name}"


def test_no_output_holds_a_pickle(folder, tmp_path):
    assert run(["export", str(folder.parent / "run"), "--format", "torch",
                "--out", str(tmp_path / "model.pt2")]) == 0  # fmt: skip
    assert not [*pickles(folder), *pickles(tmp_path)]
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickle.pt")
    assert len([*pickles(tmp_path)]) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from ibc_pyg.export import hub
from ibc_pyg.inference.trained import load_run
hub.model_card = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
hub.publish(load_run(Path(sys.argv[1])), Path(sys.argv[2]), forms=())
"""


def test_killed_export_leaves_the_old_folder(folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    before = {each: each.read_bytes() for each in out.rglob("*") if each.is_file()}
    source = str(folder.parent / "run")
    done = subprocess.run([sys.executable, "-c", KILLED, source, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".out.draft-*"))
    assert {each: each.read_bytes() for each in out.rglob("*") if each.is_file()} == before
    publish(load_run(folder.parent / "run"), out, forms=())
    assert not list(tmp_path.glob(".out.draft-*"))
    assert not (out / "onnx").exists()


def test_default_outputs_belong_to_the_run(folder, tmp_path):
    source = tmp_path / "run"
    shutil.copytree(folder.parent / "run", source)
    for kind in ("hub", "torch"):
        assert run(["export", str(source), "--format", kind]) == 0
    assert (source / "model.pt2").is_file()
    assert is_published(source / "published")
    load_run(source)


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update(renamed=w.pop(min(w))), "is missing"),
        (lambda w: w.update(more=torch.zeros(1)), "unexpected key more"),
        (lambda w: w.update({min(w): torch.zeros(3, 3)}), r"is \[3, 3\], not"),
        (lambda w: w[min(w)].add_(1), "weights_sha256"),
    ],
)
def test_weights_that_do_not_fit(copy, change, message):
    change_weights(copy, change)
    with pytest.raises(RunError, match=message):
        ibc_pyg.Embedder.from_pretrained(copy)


def test_truncated_weights_and_other_configs(copy):
    path, config = copy / "model.safetensors", json.loads((copy / "config.json").read_text())
    for change, message in [
        ({"format": 2}, "update ibc_pyg"),
        ({"surplus": 1}, "unknown key .surplus."),
        ({"embedding_dim": "x"}, "embedding_dim has a wrong value"),
        ({"backbone": "evil.py:Net"}, "not imported"),
    ]:
        (copy / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(RunError, match=message):
            ibc_pyg.load(copy)
    (copy / "config.json").write_text(json.dumps(config))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RunError, match="cannot be read"):
        ibc_pyg.load(copy)


def interrupt(draft):
    (draft / "config.json").write_text("half")
    raise KeyboardInterrupt


def test_failed_export_leaves_the_old_folder(folder):
    before = (folder / "config.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), new_folder(folder, is_own=is_published) as draft:
        interrupt(draft)
    assert (folder / "config.json").read_bytes() == before
    assert not list(folder.parent.glob(".published*"))


def test_another_folder_is_not_replaced(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not a published folder"):
        publish(load_run(folder.parent / "run"), tmp_path)
    assert (tmp_path / "mine.txt").exists()


PUSHED = """
import sys
from pathlib import Path
import numpy as np
from ibc_pyg import Embedder
from ibc_pyg.export.hub import push_to_hub

folder = Path(sys.argv[1])
push_to_hub(folder, "owner/model")
vectors = [
    np.asarray(Embedder.from_pretrained(each).embed(folder / "golden"))
    for each in (folder, "owner/model")
]
np.testing.assert_array_equal(*vectors)
"""


def test_a_pushed_folder_is_loaded_by_its_name(folder, tmp_path):
    with model_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_TOKEN": "hf_test",
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", PUSHED, str(folder)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (hub.created["organization"], hub.created["name"]) == ("owner", "model")
        assert hub.created.get("visibility", "private") == "private"
        local = {
            each.relative_to(folder).as_posix(): each.read_bytes()
            for each in folder.rglob("*")
            if each.is_file()
        }
        assert hub.files == local
