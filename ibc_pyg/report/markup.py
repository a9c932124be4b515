"""HTML and SVG elements that escape whatever is not markup already."""

from __future__ import annotations

import html

_VOID = frozenset({"img", "meta", "source", "br"})


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


class Missing(Markup):
    """A sentence that stands where a figure cannot be shown."""

    __slots__ = ()


def missing(sentence: str) -> Missing:
    """Return a sentence that says why there is nothing to show."""
    return Missing(element("p", sentence, class_="missing"))


def element(name: str, /, *children: str, **attributes: str | float | bool | None) -> Markup:
    """Return an element; plain strings in it are escaped, `Markup` is not.

    Args:
        name: Name of the tag.
        children: Content.
        attributes: `class_` stands for `class`, `data_x` for `data-x`. None and False leave the
            attribute out, True writes it without a value.

    >>> element("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        parts.append(written if value is True else f'{written}="{html.escape(_text(value))}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening) if name in _VOID else Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Return the children one after the other; plain strings are escaped."""
    return Markup(
        "".join(child if isinstance(child, Markup) else html.escape(child) for child in children)
    )


def _text(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
