"""Released checkpoints as run folders: outputs equal those of the released modules."""

import pytest
import torch
import torch.nn.functional as F

from ibc_pyg.cli import run
from ibc_pyg.data.sample import make_sample
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.export.from_official import import_official
from ibc_pyg.export.official import (
    OfficialEncoder,
    OfficialMPN,
    encoder_from_state_dict,
    mpn_from_state_dict,
)
from ibc_pyg.export.official.encoder import _released_name as encoder_name
from ibc_pyg.export.official.mpn import MPNLayout
from ibc_pyg.export.official.mpn import _released_name as mpn_name
from ibc_pyg.inference.trained import load_run

CLASSES = 5


def randomised(module, rename):
    """Return the state dict of a module with released names and random tensors."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, value in module.state_dict().items():
        drawn = value
        if value.is_floating_point():
            drawn = 0.1 * torch.randn(value.shape, generator=generator)
            drawn = drawn.abs() + 0.5 if key.endswith("running_var") else drawn
        state[rename(key)] = drawn
    return state


def encoder_state(embed_dim=64, neck=False):
    return randomised(OfficialEncoder("resnet18", CLASSES, embed_dim=embed_dim, neck=neck),
                      encoder_name)  # fmt: skip


def mpn_state(channels=64, **changes):
    layout = MPNLayout(**{
        "channels": channels, "reduction": 1, "steps": 2, "every_step": True,
        "concatenate": False, "neck": True, "mlp": True, "norm_conv": True, "norm_mlp": True,
        "num_classes": CLASSES, **changes,
    })  # fmt: skip
    return randomised(OfficialMPN(layout, 4), mpn_name)


@pytest.fixture
def files(tmp_path):
    torch.save(encoder_state(), tmp_path / "E.pth")
    torch.save(mpn_state(), tmp_path / "G.pth")
    make_sample("cub", tmp_path / "cub")
    return tmp_path


FIELDS = [
    "--data.name",
    "cub",
    "--data.allow_partial",
    "true",
    "--data.transform_args",
    "{image_size: 64}",
]


def test_outputs_of_the_run_equal_those_of_the_modules(files):
    made = import_official(
        files / "E.pth", files / "G.pth", 4, files / "run",
        fields=["--data.root", str(files / "cub"), *FIELDS],
    )  # fmt: skip
    model = load_run(made.path).model
    encoder = encoder_from_state_dict(encoder_state())
    mpn = mpn_from_state_dict(mpn_state(), 4)
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = model(images)
        raw = encoder(images)
        refined = mpn(F.normalize(raw, dim=-1))
        # The same operations on the same weights.
        torch.testing.assert_close(output.embedding, raw, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(output.auxiliary_logits, encoder.classify(raw))
        torch.testing.assert_close(model.embed(images), F.normalize(raw, dim=-1))
        for ours, theirs in zip(output.node_logits, refined.logits, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(output.node_logits) == 2


@pytest.mark.parametrize(
    ("embed_dim", "neck", "last_stride"), [(None, True, True), (32, True, False)]
)
def test_other_encoders(files, embed_dim, neck, last_stride):
    state = encoder_state(embed_dim, neck)
    torch.save(state, files / "E.pth")
    made = import_official(
        files / "E.pth", None, None, files / "run", last_stride=last_stride,
        fields=["--data.root", str(files / "cub"), *FIELDS],
    )  # fmt: skip
    encoder = encoder_from_state_dict(state, last_stride)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = load_run(made.path).model(images)
        torch.testing.assert_close(output.embedding, encoder(images))
        torch.testing.assert_close(output.auxiliary_logits, encoder.classify(encoder(images)))
    assert output.node_logits == []


def test_evaluate_search_and_report_open_the_folder(files, capsys):
    arguments = ["--encoder", files / "E.pth", "--mpn", files / "G.pth", "--heads", 4,
                 "--out", files / "run", "--data.root", files / "cub", *FIELDS]  # fmt: skip
    assert run(["import-official", *map(str, arguments)]) == 0
    picture = next((files / "cub").rglob("*.jpg"))
    for command in (["evaluate"], ["search"], ["report"]):
        more = [str(picture), "-k", "3"] if command == ["search"] else []
        assert run([*command, str(files / "run"), *more]) == 0
    assert (files / "run" / "report.html").is_file()
    assert "R@1" in capsys.readouterr().out


@pytest.mark.parametrize(("classes", "name"), [(100, "cub"), (98, "cars")])
def test_the_number_of_classes_names_the_data_set(classes, name, tmp_path, capsys):
    encoder = OfficialEncoder("resnet18", classes, embed_dim=8, neck=False)
    torch.save(randomised(encoder, encoder_name), tmp_path / "E.pth")
    words = ["--encoder", str(tmp_path / "E.pth"), "--out", str(tmp_path / "run")]
    assert run(["import-official", *words]) == 0
    assert f"data set: {name} (give its folder" in capsys.readouterr().out
    assert load_run(tmp_path / "run").config.data.name == name


def test_an_unknown_data_set_has_to_be_named(files):
    with pytest.raises(ConfigError, match=r"5 classes.*--data\.name"):
        import_official(files / "E.pth", None, None, files / "run")
    assert not (files / "run").exists()


def test_invalid_arguments(files):
    with pytest.raises(ConfigError, match="--mpn and --heads are needed together"):
        import_official(files / "E.pth", files / "G.pth", None, files / "run")
    with pytest.raises(ConfigError, match="divide"):
        import_official(files / "E.pth", files / "G.pth", 7, files / "run", fields=FIELDS)
    with pytest.raises(RunError, match="key"):
        import_official(files / "G.pth", None, None, files / "run")
    torch.save(mpn_state(channels=32), files / "narrow.pth")
    with pytest.raises(ConfigError, match="width 32"):
        import_official(files / "E.pth", files / "narrow.pth", 4, files / "run")
    with pytest.raises(RunError, match=r"no\.pth"):
        import_official(files / "no.pth", None, None, files / "run")
    assert not (files / "run").exists()
