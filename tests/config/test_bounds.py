"""Every number of a configuration has a bound, and so has every YAML text."""

import dataclasses
import math
import os
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
import yaml

from ibc_pyg.config import Config, DataConfig, TrainConfig
from ibc_pyg.config.checks import Range, ranges
from ibc_pyg.config.files.yaml_file import config_from_yaml, parse_config, read_yaml
from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep.sweep_file import read_sweep


def kinds(hint: Any) -> set[Any]:
    """Return the types that a value of a field, or of a list in it, can have."""
    if get_origin(hint) in (Union, types.UnionType, list):
        return set().union(*map(kinds, get_args(hint)))
    return {hint}


def number_fields(cls: type, prefix: str = "") -> dict[str, tuple[type, str]]:
    found = {}
    for name, hint in get_type_hints(cls).items():
        inner = [each for each in (hint, *get_args(hint)) if dataclasses.is_dataclass(each)]
        if inner:
            found |= number_fields(inner[0], f"{prefix}{name}.")
        elif kinds(hint) & {int, float}:
            found[prefix + name] = (cls, name)
    return found


NUMBERS = number_fields(Config)


def test_every_number_declares_a_range():
    assert {"model.steps", "data.workers", "train.lr_milestones", "loss.terms.weight"} <= set(
        NUMBERS
    )
    missing = [field for field, (cls, name) in NUMBERS.items() if name not in ranges(cls)]
    assert not missing


@pytest.mark.parametrize("field", [name for name in NUMBERS if not name.startswith("loss.terms")])
def test_a_number_beyond_its_range_is_refused(field):
    cls, name = NUMBERS[field]
    allowed = ranges(cls)[name][0]
    listed = get_origin(get_type_hints(cls)[name]) is list
    for value in (allowed.least - 1, 2 * allowed.most + 1, 10**60):
        with pytest.raises(ConfigError, match=f"{field} must be"):
            parse_config(None, [f"--{field}", f"[{value}]" if listed else f"{value}"])


def test_the_bounds_of_a_range():
    assert 1 in Range(1, 2)
    assert 2 in Range(1, 2)
    assert 1 not in Range(1, 2, above=True)
    assert 2 not in Range(1, 2, below=True)
    assert float("nan") not in Range(1, 2)
    assert str(Range(0, 1e6, above=True)) == "(0, 1000000]"
    assert get_args(Annotated[int, Range(1, 2)])[1] == Range(1, 2)


def test_a_batch_is_bounded():
    with pytest.raises(ConfigError, match="must be at most 65536 images, not 90000"):
        DataConfig(classes_per_batch=300, images_per_class=300)


@pytest.mark.parametrize("value", [math.inf, math.nan, 2**63, -(10**5000)], ids="abcd")
def test_free_form_numbers_are_bounded(value):
    with pytest.raises(ConfigError, match=r"model\.graph_args\.k must be"):
        Config(model=dataclasses.replace(Config().model, graph_args={"k": value}))


def test_a_long_integer_has_a_message():
    with pytest.raises(
        ConfigError, match=r"train\.epochs must be in .*, not a number of 33220 bits"
    ):
        TrainConfig(epochs=10**10_000)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = {
    "aliases": (LAUGHS, "more than 20,000 values"),
    "merges": (MERGES, "more than 20,000 values"),
    "aliases in a field": (
        "model:\n  graph_args:\n" + "".join(f"    {line}\n" for line in LAUGHS.splitlines()),
        "more than 20,000 values",
    ),
    "many values": ("model: {graph_args: {k: [" + "1," * 30_000 + "]}}", "more than 20,000"),
    "depth": ("model: " + "[" * 60 + "]" * 60, "nested too deeply"),
    "great depth": ("model: " + "[" * 50_000, "experiment.yaml"),
    "depth by aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)),
        "nested too deeply",
    ),
    "itself": ("model: {graph_args: &a {k: *a}}", "contain themselves"),
    "digits": ("train: {epochs: " + "9" * 5000 + "}", "a number has 5,000 characters"),
    "hexadecimal": ("train: {epochs: 0x" + "f" * 5000 + "}", "a number has 5,002 characters"),
    "base 60": ("train: {epochs: 1" + ":10" * 2000 + "}", "a number has 6,001 characters"),
    "a date": ("train: {epochs: 2024-13-45}", "train.epochs"),
    "a date's tag": ("train: {epochs: !!timestamp x}", "does not fit its tag"),
    "a bool's tag": ("train: {epochs: !!bool x}", "does not fit its tag"),
    "an empty int": ("train: {epochs: !!int ''}", "does not fit its tag"),
    "binary": ("train: {epochs: !!binary x}", "not YAML"),
    "an object": ("train: !!python/object:os.system {}", "not YAML"),
    "twice": (
        "model:\n  heads: 1\n  steps: 2\n  heads: 2\n",
        "line 4: the key 'heads' stands twice",
    ),
    "a part twice": ("model: {heads: 1}\nmodel: {heads: 2}\n", "line 2: the key 'model'"),
    "twice in arguments": ("model: {graph_args: {k: 1, k: 2}}", "line 1: the key 'k'"),
    "twice in a text": ('model: {graph_args: "{k: 1, k: 2}"}', "graph_args: line 1: the key 'k'"),
    "texts in texts": ("", "more than 8 texts"),
    "nothing": ("data: {images_per_class: }", "data.images_per_class is empty"),
    "no name": ("model: {backbone: null}", "model.backbone is empty"),
    "size": ("# " + "x" * 2**20, "larger than the allowed 1,048,576 bytes"),
    "no text": (b"\xff\xfe\x00", "not UTF-8"),
}


def texts(levels: int) -> str:
    """Return a block text that holds a block text, and so on."""
    lines = [f"{' ' * level}|" for level in range(1, levels)]
    return "\n".join([*lines, " " * levels + "x"])


BAD["texts in texts"] = ("model:\n  backbone: |\n   " + texts(30).replace("\n", "\n   "), "8 texts")


@pytest.mark.parametrize("name", BAD)
def test_yaml_that_is_not_read(tmp_path, name):
    text, message = BAD[name]
    file = tmp_path / "experiment.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        parse_config(file, [])
    assert message in str(caught.value)
    assert "experiment.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "value",
    ["{k: 1, k: 2}", "[" * 60 + "]" * 60, "9" * 5000, "0x" + "f" * 5000, "!!bool x", "!!int ''",
     "!!timestamp x", "[&a [*a]]", LAUGHS],
)  # fmt: skip
@pytest.mark.parametrize("field", ["train.epochs", "train.lr", "model.graph_args", "data.workers"])
def test_options_that_are_not_read(field, value):
    for words in ([f"--{field}", value], [f"--{field}={value}"]):
        with pytest.raises(ConfigError) as caught:
            parse_config(None, words)
        assert field in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_a_key_that_overrides_a_merged_one_is_not_twice(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("model:\n  graph_args: &a {k: 3, b: 1}\n  conv_args: {<<: *a, k: 4}\n")
    assert config_from_yaml(file).model.conv_args == {"k": 4, "b": 1}


def test_a_date_is_a_text(tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text("{a: 2024-01-01, b: 2024-13-45}")
    assert read_yaml(file) == {"a": "2024-01-01", "b": "2024-13-45"}


@pytest.mark.parametrize("read", [config_from_yaml, read_sweep, read_yaml])
def test_other_kinds_of_files(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=path.name):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_cap": 10**9}, "run_cap must be a whole number from 1 to 10000"),
        ({"parameters": {"train.lr": {"min": 0, "max": 10**40}}}, "at most 1e"),
        ({"parameters": {"train.lr": {"distribution": "q_normal", "q": 1e-300}}},
         "q must be a number from"),
    ],
)  # fmt: skip
def test_numbers_of_a_sweep_are_bounded(tmp_path, change, message):
    content = {
        "method": "random",
        "metric": {"name": "val/R@1", "goal": "maximize"},
        "parameters": {"train.lr": {"min": 0.1, "max": 0.2}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content | change))
    with pytest.raises(ConfigError, match=message):
        read_sweep(tmp_path / "sweep.yaml")


def test_a_draw_that_is_not_finite_is_named(tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        "method: random\nmetric: {name: val/R@1}\nparameters:\n"
        "  train.lr: {distribution: q_log_normal, mu: 100000, sigma: 1, q: 1}\n"
    )
    with pytest.raises(ConfigError, match=r"parameters\.train\.lr: trial 0 draws inf"):
        read_sweep(tmp_path / "sweep.yaml").trials(1, 0)
