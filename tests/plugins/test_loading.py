"""References, entry points, and the import behind them."""

import pickle
import re
import sys

import pytest
import torch

from ibc_pyg.config import Config, DataConfig, TermConfig, TrainConfig
from ibc_pyg.config.plugged import plugged, plugged_code
from ibc_pyg.data.loading.loader import Loading, eval_loader, train_loader
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.data.table import Role
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.factory import make_loss
from ibc_pyg.plugins import KINDS, find_plug, load_plug
from ibc_pyg.plugins.plug import named_arguments
from ibc_pyg.plugins.reference import is_reference, parse_reference
from tests.helpers.plugs import EXAMPLES, naming


@pytest.mark.parametrize(
    ("text", "name", "file", "module"),
    [
        ("own.py:Own", "Own", "own.py", None),
        ("/a b/ö.py:f", "f", "/a b/ö.py", None),
        ("C:/a.py:f", "f", "C:/a.py", None),
        ("package.module:Own", "Own", None, "package.module"),
        ("own:Own", "Own", None, "own"),
    ],
)
def test_a_reference_is_split(text, name, file, module):
    found = parse_reference(text, "field")
    assert (found.name, found.module) == (name, module)
    assert (found.file is None) if file is None else str(found.file) == file


@pytest.mark.parametrize("text", [":", "own.py:", ":Own", "own.py x:Own", "a-b:Own", "own.py:a.b"])
def test_what_is_no_reference_is_said(text):
    assert is_reference(text)
    with pytest.raises(ConfigError, match=re.escape("neither FILE.py:NAME nor package")):
        parse_reference(text, "model.backbone")


def test_an_edited_file_is_executed_again(tmp_path):
    file = tmp_path / "own.py"
    found = []
    for number in (1, 2):
        file.write_text(f"def own(x, y): return {number}.0")
        found.append(load_plug("metric", f"{file}:own").target(None, None))
    assert found == [1.0, 2.0]


def test_a_file_is_executed_once(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(f"open({str(tmp_path / 'log')!r}, 'a').write('x')\ndef own(x, y): return 0.0")
    first, second = (load_plug("metric", f"{file}:own").target for _ in range(2))
    assert first is second
    assert (tmp_path / "log").read_text() == "x"


@pytest.mark.parametrize("kind", ["schedule", "sampler", "graph", "refiner", "metric", "tracker"])
def test_an_unknown_name_is_no_plug(kind):
    field = KINDS[kind].place
    with pytest.raises(ConfigError, match=f"{field} = 'nothing' is unknown"):
        naming(Config(), kind, "nothing")


@pytest.mark.parametrize("config", [
    lambda: DataConfig(sampler="walk", sampler_args={"a": 1}),
    lambda: TrainConfig(schedule="cosine", schedule_args={"a": 1}),
])  # fmt: skip
def test_arguments_without_code_of_the_user_are_refused(config):
    with pytest.raises(ConfigError, match="_args must be empty"):
        config()


POINTS = """
[ibc_pyg.plugins]
our_proxies = loss:Proxies
our_margin = metric:class_margin
conv4 = backbone:TwoLayers
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that adds names; its references lead to the examples."""
    folder = tmp_path / "our_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: our-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("loss", "metric", "backbone"):
        sys.modules.pop(name, None)


def test_a_package_adds_names(installed):
    loss = make_loss("our_proxies", {}, None, {}, num_classes=3, embedding_size=4)
    assert type(loss.loss).__name__ == "Proxies"
    config = naming(Config(), "metric", "our_margin")
    config.model.backbone = "resnet6"
    config.loss.terms.append(TermConfig("our_proxies"))
    found = {each.field: (each.name, each.reference, each.module) for each in plugged(config)}
    assert found == {
        "evaluate.metrics.0": ("our_margin", "metric:class_margin", "metric"),
        "loss.terms.0.name": ("our_proxies", "loss:Proxies", "loss"),
    }
    # The configuration does not choose what is imported.
    assert plugged_code(config) == frozenset()


def test_names_of_this_package_come_first(installed):
    from ibc_pyg.nn.backbones import ConvNet, make_backbone

    assert isinstance(make_backbone("conv4", 8), ConvNet)
    assert find_plug("backbone", "nothing") is None


def test_arguments_are_read_through_the_bases():
    class Base:
        def __init__(self, width, depth=1):
            self.width = width

    class Own(Base):
        def __init__(self, *, scale=1.0, **more):
            super().__init__(**more)

    assert named_arguments(Own) == {"scale", "width", "depth"}
    assert named_arguments(lambda a, *, b=1: None) == {"a", "b"}
    assert named_arguments(type("Empty", (torch.nn.Module,), {})) == set()


def test_an_unknown_argument_is_named():
    plug = load_plug("schedule", f"{EXAMPLES / 'schedule.py'}:triangle")
    with pytest.raises(ConfigError, match=re.escape("train.schedule_args") + ".*did you mean peak"):
        plug.function({"pek": 1})


def test_transforms_do_not_depend_on_workers_or_torch_s_generator():
    transform = transform_preset(f"{EXAMPLES / 'transform.py'}:Shifted")
    table = load_table("digits")
    batches = []
    for workers, seed in ((0, 1), (2, 2)):
        torch.manual_seed(seed)
        sampler = make_sampler("distinct", table.labels, SamplerSettings(4, 4, seed=0))
        loader = train_loader(table, sampler, transform, Loading(workers), seed=0)
        batches.append(next(iter(loader)).images)
    assert batches[0].shape == (16, 1, 8, 8)
    assert torch.equal(*batches)
    test = next(iter(eval_loader(table, sampler.plan(0)[0], transform, 16))).images
    assert not torch.equal(test, batches[0])
    before = torch.random.get_rng_state()
    again = pickle.loads(pickle.dumps(transform))
    image = torch.randint(256, (1, 8, 8), dtype=torch.uint8, generator=torch.Generator())
    assert torch.allclose(again.test([image]), image[None] / 255)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_failing_transform_in_a_worker_is_one_line(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "class Own:\n image_size = 8\n channels = 1\n"
        " def test(self, image):\n"
        "  if image.any(): raise KeyError('late')\n  return image / 1\n train = test\n"
    )
    transform = transform_preset(f"{file}:Own")
    table = load_table("digits")
    loader = eval_loader(table, table.where(Role.TRAIN), transform, 16, Loading(workers=1))
    with pytest.raises(Exception, match=f"^data.transform: {file}:Own failed: KeyError: 'late'$"):
        next(iter(loader))


SUBCLASSES = """
from ibc_pyg.data.sampling import WalkSampler
from ibc_pyg.data.transforms import PlainTransform

class First(WalkSampler):
    def __init__(self, labels, settings, steps=1):
        super().__init__(labels, settings)
        self.steps = steps
    def make_plan(self, rng):
        return super().make_plan(rng)[:self.steps]

class Doubled(PlainTransform):
    def normalise(self, pixels):
        return 2 * super().normalise(pixels)
"""


def test_subclasses_of_this_package_s_classes_are_taken_as_they_are(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(SUBCLASSES)
    table = load_table("digits")
    settings = SamplerSettings(4, 4, seed=0)
    ours = make_sampler("walk", table.labels, settings)
    own = make_sampler(f"{file}:First", table.labels, settings, {"steps": 2})
    assert list(own) == list(ours)[:2]
    plain = transform_preset("none", image_size=8)
    doubled = transform_preset(f"{file}:Doubled", image_size=8, resize=8)
    image = torch.randint(256, (1, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(doubled.test(image), 2 * plain.test(image))
