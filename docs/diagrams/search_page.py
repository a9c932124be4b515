"""Take the picture of the search page: train on a sample, index it, search, photograph the page.

    python docs/diagrams/search_page.py

writes docs/images/search_page.png; needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ibc_pyg.cli import run

IMAGE = Path(__file__).resolve().parents[1] / "images" / "search_page.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def write_page(folder: Path) -> Path:
    """Write a page of hits among pictures of the sample, and return it."""
    pictures, trained, index = folder / "pictures", folder / "run", folder / "pictures.index"
    page = folder / "hits.html"
    for words in (
        ["data", "make-sample", "folder", "--out", pictures, "--classes", 6],
        ["train", "sample", "--data.root", pictures, "--out", trained, "--track.report", "false"],
        ["index", "build", trained, pictures, "--out", index],
        ["search", index, pictures / "class 6" / "004.jpg", "-k", 6, "--vote", "--html", page],
    ):
        if code := run([str(word) for word in words]):
            raise SystemExit(code)
    return page


def photograph(page: Path, image: Path, width: int = 900, height: int = 740) -> None:
    """Write a picture of a page as a browser shows it."""
    browser = next((each for each in map(shutil.which, BROWSERS) if each), None)
    if browser is None:
        raise SystemExit("Chromium is not installed")
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--window-size={width},{height}", f"--screenshot={image}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        photograph(write_page(Path(folder)), IMAGE)


if __name__ == "__main__":
    main()
