"""The documentation site built by `make docs`: complete, independent of the internet, readable on a laptop's screen."""

import re
import shutil
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from first_questions import ANSWERS, holds
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""What a browser fetches automatically."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SITE / "docs" / "index.html").exists(), reason="the site is not built: make docs"),
]


class Page(HTMLParser):
    """What a page loads, where it links to, and the anchors within it."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.names = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.names.add(given["id"])
        if tag in LOADS and given.get(LOADS[tag]):
            self.loads.append(given[LOADS[tag]])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


@cache
def page(path):
    return Page(path)


def pages():
    return [path for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts]


def leads_to(path, link):
    name, _, heading = link.partition("#")
    return ((path.parent / unquote(name)).resolve() if name else path), unquote(heading)


def test_nothing_is_loaded_from_elsewhere():
    outside = re.compile(r"(https?:)?//")
    found = [(path.name, one) for path in pages() for one in page(path).loads if outside.match(one)]
    for sheet in SITE.rglob("*.css"):
        fetched = re.findall(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text(encoding="utf-8"))
        found += [(sheet.name, one) for one in fetched]
    assert not found


def test_every_link_leads_to_a_page_and_a_place():
    wrong = []
    for path in pages():
        for link in page(path).links:
            if re.match(r"\w+:", link):
                continue
            target, heading = leads_to(path, link)
            if not target.exists() or (heading and target.suffix == ".html" and heading not in page(target).names):
                wrong.append((path.name, link))
    assert not wrong


def test_the_site_begins_at_its_start_page():
    text = (SITE / "index.html").read_text(encoding="utf-8")
    assert "docs/index.html" in text
    assert (SITE / "docs" / "index.html").exists()


@pytest.mark.parametrize("question", ANSWERS)
def test_what_a_newcomer_asks_is_answered_one_click_from_the_start_page(question):
    """The link next to the question leads to the very heading below which the words of the answer stand."""
    start = SITE / "docs" / "index.html"
    row = start.read_text(encoding="utf-8").split(question)[1]
    target, heading = leads_to(start, re.search(r'<td><p><a [^>]*href="([^"]+)"', row)[1])
    shown = target.read_text(encoding="utf-8").split("<article")[1]
    if heading:
        shown = shown.split(f'id="{heading}"')[1].split("<h2")[1]
    assert holds(unescape(re.sub(r"<[^>]+>", "", shown)), ANSWERS[question])


def test_messages_are_found_by_the_search():
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    assert "docs/troubleshooting" in index
    for word in ("flyback", "convergence_semiangle_mrad", "checkpoint"):
        assert word[:6] in index


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1024, 1440])
def test_a_browser_shows_it_without_the_internet_and_without_scrolling_sideways(width, chromium):
    view = chromium.new_page(viewport={"width": width, "height": 900})
    view.set_default_timeout(300_000)
    asked, said = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("pageerror", lambda error: said.append(str(error)))
    wide = []
    for name in ("docs/index", "docs/start/file", "docs/troubleshooting", "docs/settings", "docs/protocol"):
        view.goto((SITE / f"{name}.html").as_uri())
        view.wait_for_load_state("load")
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        if view.evaluate(script) > 0:
            wide.append(name)
    view.close()
    assert not wide
    assert not said
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
