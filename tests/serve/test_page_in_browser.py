"""The page, driven in a headless browser: choose, click, filter, at three widths."""

import shutil

import pytest

from tests.helpers.served import served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


@pytest.fixture
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], headless=True
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_search_click_and_filter(browser, pictures_index, width):
    with served(pictures_index) as server:
        page = browser.new_page(viewport={"width": width, "height": 900})
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.url)
        expect(page.locator("#label option")).to_have_count(4)
        picture = next((pictures_index.path.parent / "photos").rglob("*.png"))
        page.set_input_files("#file", picture)
        expect(page.locator("#hits li")).to_have_count(12)
        expect(page.locator("#hits .mark").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        cut = "all => all.filter((each) => each.scrollWidth > each.clientWidth).length"
        expect(page.locator("#hits .strangers").first).to_contain_text("1 in")
        assert page.locator("#hits .strangers").evaluate_all(cut) == 0
        second = page.locator("#hits button").nth(1)
        name = second.locator(".name").inner_text()
        second.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#query-name")).to_have_text(name)
        expect(page.locator("#hits .name", has_text=name)).to_have_count(0)
        page.select_option("#label", "pear")
        expect(page.locator("#hits .label", has_text="pear")).to_have_count(12)
        expect(page.locator("#vote")).to_be_empty()
        page.go_back()
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no"})
        expect(page.locator("#status.error")).to_contain_text("not a picture")
        page.select_option("#k", "6")
        expect(page.locator("#hits li")).to_have_count(6)
        assert [url for url in asked if not url.startswith((server.url, "blob:", "data:"))] == []
        assert [text for text in errors if "415" not in text] == []
