"""The browser's own part of the page behind a proxy, which answers in place of a dashboard that it cannot reach."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ptylive.dashboard.skeleton import read_template

pytestmark = pytest.mark.browser
ADDRESS = "http://microscope.example.org/ptylive/"
BODY = """<div class="banner" data-text="banner"></div><select id="film-every"></select>
<input type="file" id="upload-files" multiple>
<div id="upload" hidden><span></span><progress></progress><button></button></div>"""


class Proxy:
    """Serves the page, and answers everything else with ``status`` and a page of its own."""

    def __init__(self, page: Page) -> None:
        self.pages_sent, self.status = 0, 502
        scripts = "".join(f"<script>{read_template(name)}</script>" for name in ("session.js", "take_home.js"))
        self._page = f"<!DOCTYPE html><html><body>{scripts}{BODY}</body></html>"
        page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        if route.request.url == ADDRESS:
            self.pages_sent += 1
            route.fulfill(body=self._page, content_type="text/html")
        elif route.request.method == "GET" and "/upload?" in route.request.url:
            route.fulfill(json={"file": "scan.mib", "there": False})
        else:
            route.fulfill(status=self.status, body="<html>nginx</html>", content_type="text/html")


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    page.clock.install()
    yield page
    page.close()


def test_the_page_stays_while_a_proxy_has_no_dashboard_behind_it(page: Page) -> None:
    """Playwright does not intercept requests for favicon.ico, so the page's fetch is replaced."""
    proxy = Proxy(page)
    page.goto(ADDRESS)
    page.evaluate("window.answers = 0; window.fetch = async () => { answers += 1; return {status: Number(status)}; }")
    page.evaluate("ptylive.disconnected()")
    for status in (502, 503, 504):
        page.evaluate("status => { window.status = status; answers = 0; }", status)
        page.clock.run_for(2000)
        assert page.evaluate("answers") > 0
    assert proxy.pages_sent == 1
    page.evaluate("window.status = 404")  # the dashboard is back: it has no such picture
    with page.expect_navigation():
        page.clock.run_for(2000)
    assert proxy.pages_sent == 2


def test_a_page_that_does_not_connect_names_the_websocket(page: Page) -> None:
    Proxy(page)
    page.goto(ADDRESS)
    banner = page.locator(".banner")
    page.clock.run_for(11_000)
    expect(banner).to_have_text("")
    page.clock.run_for(2000)
    expect(banner).to_contain_text("WebSockets")
    with page.expect_navigation():
        page.clock.run_for(18_000)


def test_a_file_that_is_too_large_for_a_proxy_is_refused_with_the_remedy(page: Page) -> None:
    proxy = Proxy(page)
    proxy.status = 413
    page.goto(ADDRESS)
    page.locator("#upload-files").set_input_files({"name": "scan.mib", "mimeType": "", "buffer": b"1234"})
    expect(page.locator("#upload span")).to_contain_text("client_max_body_size")


def test_a_network_that_fails_in_silence_is_reported_until_a_beat_arrives(page: Page) -> None:
    proxy = Proxy(page)
    page.goto(ADDRESS)
    page.evaluate("void (window.fetch = async () => { throw new TypeError('no network'); })")
    page.evaluate("ptylive.ready({content: '{}', cards: '{}'}, {}, [])")
    page.evaluate("() => { const wrong = Date.now() + 3_600_000; Date.now = () => wrong; }")  # the clock has been set
    banner = page.locator(".banner")
    page.clock.run_for(13_000)
    expect(banner).to_have_text("")
    page.clock.run_for(4000)
    expect(banner).to_contain_text("nothing has arrived since")
    page.evaluate("ptylive.beat()")
    expect(banner).to_have_text("")
    page.clock.run_for(120_000)
    expect(banner).to_contain_text("nothing has arrived since")
    assert proxy.pages_sent == 1


def test_times_are_those_of_the_server(page: Page) -> None:
    """Regression: with a wrong clock in the browser the page named a time at which nothing had happened."""
    Proxy(page)
    page.goto(ADDRESS)
    page.evaluate("void (window.fetch = async () => { throw new TypeError('no network'); })")
    page.evaluate("ptylive.ready({content: '{}', cards: '{}', clock: 86390}, {}, [])")
    page.clock.run_for(17_000)
    banner = page.locator(".banner")
    expect(banner).to_contain_text("nothing has arrived since 23:59:50:")
    page.evaluate("ptylive.beat(43)")
    expect(banner).to_have_text("")
    page.evaluate("ptylive.disconnected()")
    expect(banner).to_contain_text("dashboard lost at 00:00:43:")


@pytest.mark.slow
def test_a_clock_that_is_set_ends_no_connection(page: Page) -> None:
    """Regression: when the browser's clock was corrected, the page said that nothing had arrived since long ago."""
    Proxy(page)
    page.goto(ADDRESS)
    page.evaluate("ptylive.ready({content: '{}', cards: '{}'}, {}, [])")
    page.evaluate("() => { const wrong = Date.now() + 3_600_000; Date.now = () => wrong; }")
    page.clock.run_for(3000)
    expect(page.locator(".banner")).to_have_text("")


def test_a_connection_that_stays_silent_although_the_dashboard_responds_is_renewed(page: Page) -> None:
    proxy = Proxy(page)
    page.goto(ADDRESS)
    page.evaluate("void (window.fetch = async () => ({status: 404}))")
    page.evaluate("ptylive.ready({content: '{}', cards: '{}'}, {}, [])")
    with page.expect_navigation():
        page.clock.run_for(60_000)
    assert proxy.pages_sent == 2
