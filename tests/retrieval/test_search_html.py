"""The page of a search: self-contained, escaped, pictures upright, nothing missing."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import ibc_pyg
from ibc_pyg import cli
from ibc_pyg.retrieval.hits import Hit, Vote, rate
from ibc_pyg.retrieval.page.page import SIDE, Answer, write_page
from tests.helpers.index_pictures import CountingModel, save_picture, save_pictures

HOSTILE = "<img onerror=alert(1) src=x>&\"'.png"


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.text, self.policy = [], [], "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name for name, _ in attrs}))
        values = dict(attrs)
        self.links += [values[name] for name in ("src", "href", "srcset") if name in values]
        self.policy = self.policy or (values["content"] if "http-equiv" in values else "")

    def handle_data(self, data):
        self.text += "" if self.tags[-1:] == [("style", set())] else data


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def pictures(page):
    found = []
    for link in page.links:
        head, _, body = link.partition(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        found.append(Image.open(io.BytesIO(base64.b64decode(body, validate=True))))
    return found


def hit(path, **values):
    return Hit(1, 0.5, str(path), values.pop("label", "apple"), 0, **values)


def test_names_and_labels_are_text(tmp_path):
    file = save_picture(tmp_path / "pictures" / HOSTILE.replace("/", ""), 1)
    hits = [hit(file, label=HOSTILE, copies=(str(file),)), hit(tmp_path / HOSTILE, label=None)]
    write_page(tmp_path / "a.html", [Answer(file, hits, Vote(HOSTILE, 1.0))], HOSTILE, [HOSTILE])
    page = read(tmp_path / "a.html")
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert [tag for tag, _ in page.tags].count("img") == len(pictures(page)) == 2
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert page.text.count(HOSTILE) == 8  # title twice, note, query, vote, label, two names
    assert "The picture is missing." in page.text
    assert "no class" in page.text


def test_marks_of_direction_are_shown_as_escapes(tmp_path):
    write_page(tmp_path / "a.html", [Answer(tmp_path / "a\u202egpj.png", [])], "t", [])
    text = (tmp_path / "a.html").read_text()
    assert "\u202e" not in text
    assert "a\\u202egpj.png" in text
    assert "No picture found." in text


def test_the_policy_forbids_requests_and_scripts(tmp_path):
    write_page(tmp_path / "a.html", [], "t", [])
    policy = read(tmp_path / "a.html").policy
    assert "default-src 'none'" in policy
    assert "script-src 'none'" in policy
    assert "img-src data:" in policy


def test_pictures_are_upright_and_small(tmp_path):
    pixels = np.zeros((900, 600, 3), np.uint8)
    pixels[:450] = (250, 30, 30)  # red above
    turned = Image.fromarray(pixels).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns it by 90 degrees clockwise
    turned.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    write_page(tmp_path / "a.html", [Answer(tmp_path / "photo.jpg", [])], "t", [])
    (shown,) = pictures(read(tmp_path / "a.html"))
    assert max(shown.size) == SIDE
    assert shown.size[0] < shown.size[1]
    shown = np.asarray(shown.convert("RGB")).astype(int)
    assert shown[:80, :, 0].min() > 200
    assert shown[-80:, :, 0].max() < 60
    assert len((tmp_path / "a.html").read_bytes()) < 30_000


def test_every_form_of_a_query_is_shown(tmp_path):
    file = save_picture(tmp_path / "a.png", 1)
    with Image.open(file) as image:
        image.load()
    for query in (str(file), file, file.read_bytes(), image, np.asarray(image)):
        write_page(tmp_path / "a.html", [Answer(query, [])], "t", [])
        assert len(pictures(read(tmp_path / "a.html"))) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "50 %"), (0.051, "5 %"), (0.01, "1 in 100"), (1 / 12345, "1 in 12,345"), (0, "none")],
)
def test_rates(value, text):
    assert rate(value) == text


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed")
    save_pictures(folder / "photos", 12)
    ibc_pyg.Index.build(CountingModel().embedder, folder / "photos", folder / "index").close()
    return folder


def test_the_command_writes_a_page_for_several_queries(index, tmp_path, capsys):
    queries = [index / "photos" / "apple" / "0000.png", save_picture(tmp_path / "q <b>.png", 99)]
    words = ["search", str(index / "index"), *map(str, queries), "-k", "4", "--vote"]
    assert cli.run([*words, "--html", str(tmp_path / "page.html")]) == 0
    page = read(tmp_path / "page.html")
    assert len(pictures(page)) == 2 + 2 * 4
    assert page.text.count("identical") == 1
    assert page.text.count("of the votes") == 2
    assert "q <b>.png" in page.text
    assert "12 pictures" in page.text
    gone = index / "photos" / "pear" / "0001.png"
    content = gone.read_bytes()
    gone.unlink()
    try:
        assert cli.run([*words[:-3], "-k", "12", "--html", str(tmp_path / "page.html")]) == 0
    finally:
        gone.write_bytes(content)
    assert read(tmp_path / "page.html").text.count("The picture is missing.") == 2


def test_the_page_is_not_written_over_a_query_or_into_the_index(index, tmp_path, capsys):
    query = save_picture(tmp_path / "q.png", 99)
    for out in (query, index / "index" / "page.html", tmp_path / "missing" / "page.html"):
        content = query.read_bytes()
        assert cli.run(["search", str(index / "index"), str(query), "--html", str(out)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert query.read_bytes() == content
        assert out == query or not out.exists()
