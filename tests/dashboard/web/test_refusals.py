"""Pages that refuse: a status, a reason, and nothing of what was asked for that a browser would run."""

import pytest
import tornado.web
from tornado.testing import AsyncHTTPTestCase

from ptylive.dashboard.web import refusals
from ptylive.dashboard.web.refusals import RefusalHandler

SCRIPT = '"><script>alert(1)</script>'
PAGES = {
    "host": (refusals.unknown_host(f"evil{SCRIPT}:80"), 403),
    "no host": (refusals.unknown_host(""), 403),
    "origin": (refusals.foreign_origin(f"http://evil{SCRIPT}"), 403),
    "no origin": (refusals.foreign_origin(""), 403),
    "token": (refusals.not_known(), 401),
    "viewer": (refusals.not_permitted(), 403),
    "full": (refusals.too_many(7), 503),
}


class Served(AsyncHTTPTestCase):
    """Every page at an address of its own."""

    def get_app(self):
        return tornado.web.Application([(f"/{n}", RefusalHandler, page) for n, (page, _) in enumerate(PAGES.values())])

    def runTest(self):
        """unittest asks for one."""


@pytest.fixture(scope="module")
def served():
    made = Served()
    made.setUp()
    yield made
    made.tearDown()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("number", range(len(PAGES)), ids=PAGES)
def test_every_method_is_answered_with_the_reason(served, number, method):
    page, status = list(PAGES.values())[number]
    answer = served.fetch(f"/{number}", method=method, body="x" if method == "POST" else None)
    text = answer.body.decode()
    assert answer.code == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert page["title"] in text
    assert "<script" not in text
    assert ("http-equiv" in text, "Retry-After" in answer.headers) == (page.get("reload", False),) * 2


@pytest.mark.parametrize("make", [refusals.unknown_host, refusals.foreign_origin])
def test_what_was_asked_for_is_cut_short_and_escaped(make):
    lines = " ".join(make("x" * 10_000 + SCRIPT)["lines"])
    assert len(lines) < 1500
    assert "<script" not in " ".join(make(SCRIPT)["lines"])
