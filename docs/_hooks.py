"""Pages of the documentation that come from other files, for mkdocs.

The home page is README.md. Contributing, changes and every file outside docs/ that a page links to
become pages. The reference of experiments and commands is written from the code.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import _reference  # noqa: E402

MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files at the top of the repository, and their pages."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".csv": "text"}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")
_IMAGE = re.compile(r'(src(?:set)?=")(?!https?:)([^"]+)(")')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of files outside docs/, and the reference."""
    for name, page in MOVED.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    written = {
        "reference/experiment.md": _reference.experiment_page,
        "reference/commands.md": _reference.commands_page,
    }
    for page, write in written.items():
        files.append(File.generated(config, page, content=write()))
    for path in _linked_sources(files):
        files.append(File.generated(config, _source_page(path), content=_source(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages: files of the repository have other places there than on GitHub."""
    here = _origin(page.file.src_uri)
    start = posixpath.dirname(page.file.src_uri)

    def target(link: str) -> str:
        return posixpath.relpath(_page(_resolve(here, link)), start or ".")

    def link(found: re.Match[str]) -> str:
        before, path, after = found.groups()
        return found[0] if _external(path) else f"{before}{target(path)}{after}"

    def image(found: re.Match[str]) -> str:
        before, path, after = found.groups()
        # HTML is not rewritten by mkdocs: paths are relative to the page's folder in the site.
        up = posixpath.dirname(page.file.dest_uri)
        return f"{before}{posixpath.relpath(_page(_resolve(here, path)), up or '.')}{after}"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(
        part if part.startswith("```") else _less(_IMAGE.sub(image, _LINK.sub(link, part)))
        for part in parts
    )


def _less(markdown: str) -> str:
    """Return text in which `<` needs no backslash, which Python-Markdown would show."""
    return markdown.replace("\\<", "&lt;")


def _external(link: str) -> bool:
    return "://" in link or link.startswith(("mailto:", "/"))


def _origin(src_uri: str) -> str:
    """Return the file of the repository that a page is made of."""
    for name, page in MOVED.items():
        if page == src_uri:
            return name
    if src_uri.startswith("source/"):
        return src_uri.removeprefix("source/").removesuffix(".md")
    return f"docs/{src_uri}"


def _resolve(here: str, link: str) -> str:
    """Return the path in the repository that a link of a file leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), link))


def _page(path: str) -> str:
    """Return the page, or the file in docs/, that shows a file of the repository."""
    if path in MOVED:
        return MOVED[path]
    if not _outside(path):
        return path.removeprefix("docs/")
    return _source_page(path)


def _outside(path: str) -> bool:
    """Return whether a file is no page and no picture of docs/."""
    return path.endswith(".py") or not path.startswith("docs/")


def _source_page(path: str) -> str:
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def _linked_sources(files: Files) -> list[str]:
    """Return the files outside docs/ that pages link to, and those that these link to, sorted."""
    found: set[str] = set()
    waiting = [file.src_uri for file in files if file.src_uri.endswith(".md")]
    while waiting:
        uri = waiting.pop()
        here = _origin(uri)
        if uri.startswith("reference/") or not (ROOT / here).is_file() or not here.endswith(".md"):
            continue
        for _, link, _ in _LINK.findall((ROOT / here).read_text("utf-8")):
            path = _resolve(here, link)
            if _external(link) or path in MOVED or path in found or not _outside(path):
                continue
            if (ROOT / path).exists():
                found.add(path)
                waiting.append(_source_page(path))
    return sorted(found)


def _source(path: str) -> str:
    """Return a page that shows a file, or lists a folder."""
    file = ROOT / path
    hidden = "---\nsearch: {exclude: true}\n---\n\n"
    if file.is_dir():
        names = sorted(each.name for each in file.iterdir() if not each.name.startswith(("_", ".")))
        return f"{hidden}# {path}/\n\n" + "".join(f"- `{name}`\n" for name in names)
    text = file.read_text("utf-8")
    if file.suffix == ".md":
        return hidden + text
    language = LANGUAGES.get(file.suffix, "text")
    return f"{hidden}# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
