"""YAML text from others: bounds that are checked before it becomes objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from jsonargparse import get_loader

from ibc_pyg.errors import ConfigError, shown

MAX_BYTES = 2**20
"""Most bytes of a YAML file."""
MAX_NODES = 20_000
"""Most values in a document, each repetition through an alias counted."""
MAX_DEPTH = 50
"""Most mappings and lists within each other."""
MAX_DIGITS = 64
"""Most characters of a number."""

_TOO_DEEP = "values are nested too deeply, or contain themselves"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_SIMPLE = frozenset("[]{}:&*!?|>'\"\n-")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 of plain data, in which a date is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def load_document(text: str) -> Any:
    """Parse a YAML document of plain data.

    Raises:
        yaml.YAMLError: If it is not YAML.
        ConfigError: If a key stands twice in a mapping, a value does not fit its tag, a number has
            more than `MAX_DIGITS` characters, values are nested more than `MAX_DEPTH` deep, or
            there are more than `MAX_NODES`.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        check_document(node)
        return loader.construct_document(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        # The constructors of PyYAML raise these on texts that do not fit their tag.
        raise ConfigError(f"a value does not fit its tag ({error})") from error
    except RecursionError as error:
        raise ConfigError("values are nested too deeply") from error
    finally:
        loader.dispose()


def load_text(text: str) -> Any:
    """Parse a text as the parser does; return the text if it is not YAML.

    Raises:
        ConfigError: As `load_document`.
    """
    if len(text) > MAX_DIGITS or not _SIMPLE.isdisjoint(text):
        try:
            load_document(text)
        except yaml.YAMLError:
            return text
    try:
        return get_loader("yaml")(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def check_document(root: yaml.Node) -> None:
    """Check the bounds of a document; see `load_document`.

    Raises:
        ConfigError: Naming the line.
    """
    sizes: dict[int, tuple[int, int]] = {}  # values, and levels of nesting
    open_nodes = set[int]()
    # Each node is visited before and after its parts, without recursion.
    rest: list[tuple[yaml.Node, bool]] = [(root, False)]
    while rest:
        node, closing = rest.pop()
        parts = list(_parts(node))
        if closing:
            open_nodes.discard(id(node))
            values = 1 + sum(sizes[id(part)][0] for part in parts)
            levels = 1 + max((sizes[id(part)][1] for part in parts), default=0)
            if values > MAX_NODES:
                raise _error(node, f"there are more than {MAX_NODES:,} values")
            if levels > MAX_DEPTH:
                raise _error(node, _TOO_DEEP)
            sizes[id(node)] = values, levels
        elif id(node) in open_nodes:
            raise _error(node, _TOO_DEEP)
        elif id(node) not in sizes:
            _check_node(node)
            open_nodes.add(id(node))
            rest.append((node, True))
            rest += [(part, False) for part in parts]


def _check_node(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            raise _error(node, f"a number has {len(node.value):,} characters")
    elif isinstance(node, yaml.MappingNode):
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            if (key.tag, key.value) in seen:
                raise _error(key, f"the key {shown(key.value)} stands twice; remove one")
            seen.add((key.tag, key.value))


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _error(node: yaml.Node, problem: str) -> ConfigError:
    return ConfigError(f"line {node.start_mark.line + 1}: {problem}")
