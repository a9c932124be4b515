"""A configuration holds plain data: nothing in it is imported, instantiated or called."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest
import yaml

from ibc_pyg import cli
from ibc_pyg.config import Config, ModelConfig
from ibc_pyg.config.files.fields import make_parser, plain_type
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.config.files.yaml_file import config_from_yaml, config_to_yaml, parse_config
from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep.plan import Plan, make_methods
from ibc_pyg.sweep.sweep_file import read_sweep

MODULE = "ibc_pyg_sentinel"
SPEC = {"class_path": f"{MODULE}.Run", "init_args": {"word": "x"}}
HIDDEN = f'{{"cl\\x61ss_path": {MODULE}.Run}}'
# The value of a free-form field, each with a class somewhere in it.
VALUES = {
    "in the field": SPEC,
    "in a value": {"k": SPEC},
    "without arguments": {"k": {"class_path": f"{MODULE}.Run"}},
    "in a list": {"k": [1, [{"deep": SPEC}]]},
    "in text": {"k": str(SPEC)},
    "in escaped text": {"k": HIDDEN},
    "the field as text": str(SPEC),
}


def free_form_fields(cls: type, prefix: str = "") -> list[str]:
    """Return the names of the fields of a dataclass, also nested, that allow any value."""
    found = []
    for name, hint in get_type_hints(cls).items():
        inner = [each for each in (hint, *get_args(hint)) if dataclasses.is_dataclass(each)]
        if inner:
            found += free_form_fields(inner[0], f"{prefix}{name}.")
        elif hint is Any or Any in get_args(hint):
            found.append(prefix + name)
    return found


FIELDS = free_form_fields(Config)


def content(field: str, value: Any) -> dict[str, Any]:
    """Return the content of an experiment file with this value."""
    part, name, *rest = field.split(".")
    if rest:
        term = {"name": "ContrastiveLoss", "miner": "TripletMarginMiner", rest[0]: value}
        return {part: {name: [term]}}
    return {part: {name: value}}


def option(field: str, value: Any) -> list[str]:
    part, name = field.split(".")[:2]
    return [f"--{part}.{name}", yaml.safe_dump(content(field, value)[part][name])]


def write(path: Path, value: Any) -> Path:
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, and a class that leaves one when made."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(folder)!r}, 'imported').touch()\n"
        "class Run:\n"
        "    def __init__(self, **words):\n"
        f"        Path({str(folder)!r}, 'made').touch()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield MODULE
    assert MODULE not in sys.modules
    assert sorted(each.name for each in folder.iterdir()) == [f"{MODULE}.py"]


def in_file(field: str, value: Any, folder: Path) -> None:
    parse_config(write(folder / "bad.yaml", content(field, value)), [])


def in_option(field: str, value: Any, folder: Path) -> None:
    parse_config(None, option(field, value))


def in_option_with_equals(field: str, value: Any, folder: Path) -> None:
    parse_config(None, ["=".join(option(field, value))])


def in_option_within(field: str, value: Any, folder: Path) -> None:
    if field.startswith("loss.terms."):
        term = content(field, value)["loss"]["terms"][0]
        parse_config(None, ["--loss.terms+", json.dumps(term)])
    parse_config(None, [f"--{field}.key", json.dumps(value)])


def over_a_value(field: str, value: Any, folder: Path) -> None:
    file = write(folder / "bad.yaml", content(field, value))
    parse_config(None, ["--config", str(file), *option(field, value)])


def in_overlay(field: str, value: Any, folder: Path) -> None:
    base = write(folder / "base.yaml", {"select": "last"})
    parse_overlays([base, write(folder / "bad.yaml", content(field, value))], [])


def in_sweep(field: str, value: Any, folder: Path) -> None:
    base = write(folder / "base.yaml", {"select": "last"})
    name, given = option(field, value)
    values = yaml.safe_load(given)
    run_sweep(folder, base, parameters={name.removeprefix("--"): {"values": [values]}})


def in_sweep_command(field: str, value: Any, folder: Path) -> None:
    base = write(folder / "base.yaml", {"select": "last"})
    run_sweep(folder, base, fields=option(field, value))


def run_sweep(folder: Path, base: Path, fields=(), parameters=None) -> None:
    file = write(
        folder / "bad.yaml",
        {
            "method": "grid",
            "metric": {"name": "val/R@1", "goal": "maximize"},
            "parameters": parameters or {"train.lr": {"values": [0.1]}},
            "command": ["python", "run.py", "train", str(base), *fields],
        },
    )
    sweep = read_sweep(file)
    methods = make_methods(sweep.experiments, [])
    plan = Plan(sweep, methods, [], list(sweep.fields), folder / "out", 1, 0, 1)
    assert plan.trials


def in_run(field: str, value: Any, folder: Path) -> None:
    whole = yaml.safe_load(config_to_yaml(Config()))
    for part, values in content(field, value).items():
        whole[part] |= values
    config_from_yaml(write(folder / "config.yaml", whole))


ROUTES = [in_file, in_option, in_option_with_equals, in_option_within, over_a_value, in_overlay,
          in_sweep, in_sweep_command, in_run]  # fmt: skip


def test_free_form_fields_are_found():
    of_model = {f"model.{part}_args" for part in ("backbone", "conv", "graph", "mpn")}
    of_terms = {"loss.terms.args", "loss.terms.miner_args"}
    assert {"data.options", "data.transform_args"} | of_model | of_terms <= set(FIELDS)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("field", FIELDS)
def test_a_class_is_refused_in_all_inputs(sentinel, tmp_path, field, route):
    for value in VALUES.values():
        with pytest.raises(ConfigError) as caught:
            route(field, value, tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        part, name = field.split(".")[:2]
        assert f"{part}.{name}" in message
        assert "is refused" in message
        assert route not in (in_file, in_overlay) or "bad.yaml" in message


@pytest.mark.parametrize("field", FIELDS)
def test_the_parser_does_not_instantiate_classes(sentinel, field):
    for value in VALUES.values():
        if isinstance(value, dict):
            parsed = make_parser(Config, "test").parse_args(option(field, value), env=False)
            for part, values in content(field, {}).items():
                assert parsed[part].as_dict().keys() >= values.keys()


@pytest.mark.parametrize(
    "words",
    [
        ["--model", f"{MODULE}.Run"],
        ["--loss", f"{{class_path: {MODULE}.Run}}"],
        ["--loss.terms", f"[{MODULE}.Run]"],
        ["--loss.terms+", f"{MODULE}.Run"],
        ["--loss.terms.class_path", f"{MODULE}.Run"],
        ["--loss.terms.help", f"{MODULE}.Run"],
        ["--model.graph_args.class_path", f"{MODULE}.Run"],
        ["--model.graph_args", f"{{k: !!python/object/apply:{MODULE}.Run []}}"],
        ["--train.lr", f"{{class_path: {MODULE}.Run}}"],
        ["--config", f"{{model: {{graph_args: {SPEC}}}}}"],
        ["--config=https://localhost/experiment.yaml"],
        ["--model.graph_args", "@values.yaml"],
        ["--print_config"],
        ["--help"],
    ],
)
def test_other_options_do_not_import_or_read_files(sentinel, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "values.yaml", {"k": SPEC})
    with pytest.raises(ConfigError) as caught:
        parse_config(None, words)
    assert "\n" not in str(caught.value)


def test_python_tags_of_yaml_are_text(sentinel):
    text = f"!!python/name:{MODULE}.Run"
    config = parse_config(None, ["--model.graph_args.k", text])
    assert config.model.graph_args == {"k": text}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"model: {MODULE}.Run\n", "model must hold fields"),
        (f"loss:\n  terms: [{MODULE}.Run]\n", "loss.terms"),
        (f"loss:\n  terms: [!!python/object/apply:{MODULE}.Run []]\n", "not YAML"),
        ("config: values.yaml\n", "config"),
        ("model:\n  graph_args: {k: !!binary aGk=}\n", "model.graph_args.k must be plain data"),
        ("model:\n  graph_args: {k: !!set {a}}\n", "model.graph_args.k must be plain data"),
        ("model:\n  graph_args: {1: 2}\n", "model.graph_args: the key 1"),
        ("model:\n  graph_args: &a {k: *a}\n", "nested too deeply"),
    ],
)
def test_other_invalid_files(sentinel, tmp_path, monkeypatch, text, names):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "values.yaml", {"model": {"graph_args": {"k": SPEC}}})
    for name in ("experiment.yaml", "overlay.yaml"):
        Path(name).write_text("" if name == "overlay.yaml" else text)
        Path("base.yaml").write_text("select: last\n")
    Path("overlay.yaml").write_text(text)
    for files in ([Path("experiment.yaml")], [Path("base.yaml"), Path("overlay.yaml")]):
        with pytest.raises(ConfigError, match=names) as caught:
            parse_overlays(files, [])
        assert str(caught.value).count(files[-1].name) == 1


def test_environment_variables_do_not_set_fields(monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    for prefix in ("TRAIN", "TEST", "RUN"):
        monkeypatch.setenv(f"{prefix}_MODEL__STEPS", "7")
        monkeypatch.setenv(f"{prefix}_CONFIG", "no.yaml")
    assert parse_config(None, []) == Config()


@pytest.mark.parametrize(
    "hint",
    [Any, object, type, Callable, Callable[[int], int], Path, ModelConfig, dict, dict[str, object],
     dict[str, ModelConfig], list[Any], list[type], int | type, ModelConfig | None],
)  # fmt: skip
def test_fields_of_other_types_are_refused(hint):
    with pytest.raises(TypeError, match="plain data"):
        plain_type(hint)


def test_plain_types_are_unchanged():
    for hint in (bool, int, float, str, Literal["a", "b"], list[float], list[int], float | None):
        assert plain_type(hint) == hint


def test_objects_are_refused_in_python():
    with pytest.raises(ConfigError, match=r"model\.graph_args\.k must be plain data"):
        Config(model=ModelConfig(graph_args={"k": object()}))
    with pytest.raises(ConfigError, match=r"model\.graph_args\.k: class_path is refused"):
        Config(model=ModelConfig(graph_args={"k": SPEC}))


@pytest.mark.parametrize(
    "words",
    [["evaluate", "RUN"], ["report", "RUN"], ["export", "RUN"], ["train", "--resume", "RUN"],
     ["search", "RUN", "RUN/config.yaml"], ["train", "RUN/config.yaml"]],
)  # fmt: skip
def test_a_class_in_a_run_is_a_one_line_error(sentinel, tmp_path, capsys, words):
    whole = yaml.safe_load(config_to_yaml(Config()))
    whole["model"]["graph_args"] = {"k": SPEC}
    write(tmp_path / "config.yaml", whole)
    assert cli.run([word.replace("RUN", str(tmp_path)) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "model.graph_args.k: class_path is refused" in error


def test_the_name_of_a_field_is_printable_in_messages():
    with pytest.raises(ConfigError) as caught:
        parse_config(None, ["--loss.terms+", str({"a\x00\n\u2028b": "!!bool x"})])
    assert str(caught.value).isprintable()
