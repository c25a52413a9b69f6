"""The page in a real Chromium: what is on the screen, pixel by pixel."""

import itertools
import json

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrant_colours, quadrants, rgb, rows_covered, share_of
from fake_server import FakeServer, map_payload, state_payload
from playwright.sync_api import Browser, WebSocketRoute, expect
from running_dashboard import RunningDashboard, fork_dashboard

from ptylive.dashboard.skeleton import read_template
from ptylive.pictures.colours import UNVISITED

pytestmark = pytest.mark.browser


def test_a_known_map_is_on_the_screen(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.publish("maps", rows_covered(SIDE // 2))
    server.maps_of(adf=quadrants(), idpc=quadrants())
    page = watched.open(dashboard.url)
    adf = "#canvas-map-3"
    eventually(lambda: share_of(pixels(page, adf), UNVISITED) > 0.2)
    above = quadrant_colours(page, adf)
    assert np.abs(above[0] - [[0, 0, 0], [255, 255, 255]]).max() <= 6
    assert np.abs(above[1] - rgb(UNVISITED)).max() <= 3

    server.publish("maps", rows_covered(SIDE))
    server.maps_of(adf=quadrants())
    server.publish("state", state_payload(state="complete", frames=SIDE**2, received=SIDE**2))
    eventually(lambda: share_of(pixels(page, adf), UNVISITED) == 0.0)
    gray = np.array([[0.0, 255.0], [127.5, 63.75]])
    assert np.abs(quadrant_colours(page, adf) - gray[..., None]).max() <= 6
    expect(page.locator("[data-text=state]")).to_have_text("COMPLETE")
    expect(page.locator("[data-text=map_3_high]")).to_have_text("1.00")

    magma = quadrant_colours(page, "#canvas-map-2")
    assert np.abs(magma[0, 1] - rgb("#fcfdbf")).max() <= 8, "phases wear magma, lightest at the top right"
    page.locator("[data-panel='2'] select").nth(1).select_option("gray")
    eventually(lambda: np.abs(quadrant_colours(page, "#canvas-map-2") - gray[..., None]).max() <= 6)

    assert watched.complaints == []
    assert watched.hosts == {f"127.0.0.1:{dashboard.port}"}


OVERFLOWS = """() => {
  const root = document.documentElement;
  const out = [...document.querySelectorAll(
      `header, footer, aside, [data-of=${document.body.dataset.view}] article`)]
    .filter(e => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1
              || e.getBoundingClientRect().bottom > innerHeight
              || e.getBoundingClientRect().right > innerWidth)
    .map(e => `${e.tagName} ${e.className}`);
  return [root.scrollWidth > innerWidth, root.scrollHeight > innerHeight, ...out];
}"""


@pytest.mark.slow
def test_nothing_overflows(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.maps_of(adf=quadrants())
    server.publish("state", state_payload(series="a very long series name " * 8, recording="/x/" + 90 * "r" + ".h5"))
    page = watched.open(dashboard.url)
    for width, height in ((1280, 800), (1440, 900), (1920, 950), (1920, 1080), (2560, 1440)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)  # Bokeh redoes its layout
        for view in ("Session", "Trotters", "Refine", "Library"):
            if view == "Trotters":
                page.keyboard.press("o")
                page.wait_for_selector("body[data-trotter=on]")
            else:
                page.get_by_role("button", name=view, exact=True).click()
            assert page.evaluate(OVERFLOWS) == [False, False], (view, width)
            if view == "Trotters":
                page.keyboard.press("o")
                page.wait_for_selector("body:not([data-trotter=on])")


@pytest.mark.slow
def test_two_viewers_agree_and_one_may_only_look(
    chromium: Browser, server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(adf=quadrants())
    operator = watched.open(dashboard.url)
    other = chromium.new_page(viewport={"width": 1280, "height": 800})
    try:
        viewer = Watched(other).open(dashboard.url + "/view")
        for page in (operator, viewer):
            eventually(lambda page=page: quadrant_colours(page, "#canvas-map-3")[0, 1].min() > 240)
        assert np.abs(pixels(operator, "#canvas-map-3") - pixels(viewer, "#canvas-map-3")).max() <= 2
        expect(viewer.locator(".role")).to_be_visible()
        expect(operator.locator(".role")).to_be_hidden()
        expect(viewer.get_by_label("change defocus")).to_be_hidden()
        viewer.evaluate("window.ptylive.ask('undo')")
        expect(viewer.locator(".sentence")).to_have_text("this page is read-only: open the operator's address")
        viewer.keyboard.press("r")
        viewer.wait_for_timeout(300)
        assert server.received("undo") == server.received("refine") == []
    finally:
        other.close()


@pytest.mark.slow
def test_words_can_be_read_in_both_themes(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    """WCAG AA: 4.5 to 1 for every text on its background."""
    scan = {"recording": "a.h5", "series": "grain", "time": 1.8e9, "frames": 64, "lost": 3, "shape": [8, 8]}
    server.replies["history"] = {"scans": [scan], "count": 1}
    server.replies["runs"] = {"runs": {"run1": {"epochs": 3, "loss": 1.5, "state": "done"}}, "pictures": []}
    server.replies["check"] = {"checks": [{"name": "overlap", "state": "warn", "text": "35 %"}]}
    waiting = [{"run": "run2", "uid": "scan-1", "series": "0142"}]
    server.publish("state", state_payload(refinement={"state": "running", "run": "run1", "waiting": waiting}, lost=3))
    page = watched.open(dashboard.url)
    for _, view in itertools.product(("dark", "light"), ("Session", "Refine", "Library")):
        page.get_by_role("button", name=view, exact=True).click()
        page.wait_for_timeout(400)
        poor = page.evaluate(
            """() => {
              const parse = c => (c.match(/[\\d.]+/g) ?? []).map(Number);
              const linear = v => (v /= 255, v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
              const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
              const ground = e => { for (; e; e = e.parentElement) {
                const c = parse(getComputedStyle(e).backgroundColor);
                if (c.length === 3 || c[3] > 0.99) return c; } return [0, 0, 0]; };
              const words = ":is(dt, dd, th, td, h2, small, span, b, em, p, li, label, button, input)";
              return [...document.querySelectorAll(words)]
                .filter(e => e.childElementCount === 0 && (e.textContent.trim() || e.value) && !e.closest(".canvas")
                          && !(e.matches("input") && ["range", "checkbox"].includes(e.type))
                          && getComputedStyle(e).opacity === "1"
                          && !e.closest("[disabled]") && getComputedStyle(e.parentElement).opacity === "1"
                          && getComputedStyle(e).visibility === "visible" && e.offsetParent)
                .map(e => { const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(ground(e))];
                  return [e.textContent || e.className, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; })
                .filter(([, ratio]) => ratio < 4.5);
            }"""
        )
        assert poor == [], view
        if view == "Library":
            page.keyboard.press("d")


@pytest.mark.slow
def test_the_server_goes_and_comes_back(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.maps_of(adf=quadrants())
    page = watched.open(dashboard.url)
    eventually(lambda: share_of(pixels(page, "#canvas-map-3"), "#ffffff") > 0.05)
    server.close()
    expect(page.locator(".banner")).to_contain_text("server lost at")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).opacity") == "0.45"
    again = FakeServer(server.control)
    try:
        expect(page.locator(".banner")).to_be_hidden()
        again.publish("state", state_payload(uid="scan-2", series="0143"))
        again.publish("maps", map_payload("adf", 1 - quadrants(), uid="scan-2"))
        expect(page.locator(".series")).to_have_text("0143")
        eventually(lambda: quadrant_colours(page, "#canvas-map-3")[0, 0].min() > 240)
    finally:
        again.close()
    assert watched.complaints == []


@pytest.mark.slow
def test_a_scan_without_frames_can_be_ended_and_a_restarted_receiver_keeps_the_picture(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    server.maps_of(adf=quadrants())
    page = watched.open(dashboard.url)
    state, end = page.locator("[data-text=state]"), page.locator("[data-act=end_scan]")
    expect(state).to_have_text("SCANNING")
    expect(end).to_be_hidden()
    told = "no frames for 12 s (2\u2009048 of 4\u2009096 arrived): wait, or end the scan"
    server.publish("state", state_payload(silent_s=12.0, message=told))
    expect(state).to_have_text("NO FRAMES")
    expect(page.locator(".sentence")).to_have_text(told)
    end.click()
    expect(end).to_have_text("really?")
    assert server.received("end_scan") == []
    end.click()
    eventually(lambda: [request["uid"] for request in server.received("end_scan")] == ["scan-1"])
    server.publish("state", state_payload())
    expect(end).to_be_hidden()
    eventually(lambda: share_of(pixels(page, "#canvas-map-3"), "#ffffff") > 0.05)
    server.publish("state", state_payload(uid="", series="", state="waiting", restarts=1, recovering=True))
    expect(page.locator(".banner")).to_contain_text("the pictures are the last ones")
    expect(state).to_have_text("RESTARTING")
    expect(page.locator(".welcome")).to_be_hidden()
    assert share_of(pixels(page, "#canvas-map-3"), "#ffffff") > 0.05
    server.publish("state", state_payload(restarts=1))
    expect(page.locator(".banner")).to_be_hidden()
    assert watched.complaints == []


@pytest.mark.slow
def test_the_dashboard_goes_and_the_page_comes_back(server: FakeServer, watched: Watched) -> None:
    running = fork_dashboard(server.control)
    page = watched.open(running.url)
    running.kill()
    expect(page.locator(".banner")).to_contain_text("dashboard lost at")
    second = fork_dashboard(server.control, running.port)
    try:
        expect(page.locator(".banner")).to_be_hidden()
        expect(page.locator(".series")).to_have_text("0142")
    finally:
        second.end()


@pytest.mark.slow
def test_a_server_that_was_ended_promises_nothing(server: FakeServer, watched: Watched) -> None:
    running = fork_dashboard(server.control)
    page = watched.open(running.url)
    expect(page.locator("[data-text=state]")).to_have_text("SCANNING")
    running.end()
    banner = page.locator(".banner")
    expect(banner).to_contain_text("the server was stopped at")
    expect(banner).to_contain_text("048 of 4\u2009096 frames of 0142 had arrived and are on disk")
    expect(banner).to_contain_text(
        f"restart it with ptylive serve --record /data --control {server.control} (and its other"
    )
    page.wait_for_timeout(1500)
    expect(banner).not_to_contain_text("reconnecting")
    assert page.title().endswith("ptylive")


@pytest.mark.slow
def test_a_page_whose_first_connection_fails_is_loaded_again(dashboard: RunningDashboard, watched: Watched) -> None:
    page, tried = watched.page, []

    def first_in_vain(socket: WebSocketRoute) -> None:
        tried.append(socket)
        if len(tried) > 1:
            socket.connect_to_server()

    page.route_web_socket("**/ws**", first_in_vain)
    page.clock.install()
    page.goto(dashboard.url)
    while not tried:
        page.wait_for_timeout(50)
    tried[0].close()  # not in the handler, where closing hangs in playwright before 1.65
    page.clock.fast_forward(31_000)
    expect(page.locator(".series")).to_have_text("0142")
    assert len(tried) == 2


@pytest.mark.slow
def test_a_viewer_who_paints_nothing_is_sent_one_picture(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    server.maps_of(adf=quadrants())
    page = watched.open(dashboard.url)
    number = "Bokeh.documents[0].get_model_by_name('map_3').renderers[0].data_source.data.number[0]"
    eventually(lambda: page.evaluate(number) >= 1)
    page.wait_for_timeout(500)
    page.evaluate("window.requestAnimationFrame = () => 0")
    before = page.evaluate(number)
    for value in range(10):
        server.maps_of(adf=quadrants() * (value + 1))
        page.wait_for_timeout(120)
    assert page.evaluate(number) <= before + 1


@pytest.mark.slow
def test_only_changed_rows_travel(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    side = 256
    noise = np.random.default_rng(3).random((side, side), dtype=np.float32)
    server.publish("state", state_payload(scan={"shape": [side, side], "step_A": [0.5, 0.5]}))
    server.publish("maps", map_payload("coverage", np.ones((side, side), dtype=bool)))
    server.publish("maps", map_payload("adf", noise))
    sizes: list[int] = []
    watched.page.on("websocket", lambda ws: ws.on("framereceived", lambda payload: sizes.append(len(payload))))
    page = watched.open(dashboard.url)
    image = "Bokeh.documents[0].get_model_by_name('map_3').renderers[0].data_source.data.image[0]"
    eventually(lambda: page.evaluate(f"{image}.shape") == [side, side])
    page.wait_for_timeout(1000)
    sizes.clear()
    after = noise.copy()
    after[100:110] = 0.98
    server.publish("maps", map_payload("adf", after))
    bright = f"(() => {{ const image = {image}; return [image[105 * 256 + 7], image[120 * 256 + 7]]; }})()"
    before = page.evaluate(bright)
    eventually(lambda: page.evaluate(bright)[0] > 245)
    assert page.evaluate(bright)[1] == before[1]
    assert max(sizes) < side * side / 4, "a whole picture would be 64 kB"
    shot = pixels(page, "#canvas-map-3")
    rows, cols = shot.shape[:2]
    scale = min(rows, cols) / side
    band = shot[round(rows / 2 + (101.5 - side / 2) * scale) : round(rows / 2 + (108.5 - side / 2) * scale)]
    assert band[:, cols // 2 - 40 : cols // 2 + 40].min() > 220, "and it is on the screen"
    assert watched.complaints == []


COVERED = """() => {
  const view = `[data-of=${document.body.dataset.view}]`;
  const out = [];
  for (const e of document.querySelectorAll(`header .slot, header button, ${view} .slot, ${view} button.small`)) {
    const style = getComputedStyle(e);
    let box = e.getBoundingClientRect();
    // checkVisibility: also false in closed details
    if (style.visibility === 'hidden' || !box.width || !box.height || !e.checkVisibility()) continue;
    if (innerWidth <= 1100) e.scrollIntoView({block: 'center'});  // one column that scrolls
    box = e.getBoundingClientRect();
    const name = e.dataset.act || e.className + ' ' + e.textContent.trim().slice(0, 20);
    const panel = e.closest('article, header, section').getBoundingClientRect();
    if (box.left < panel.left - 1 || box.right > panel.right + 1 || box.bottom > panel.bottom + 1) {
      out.push(`${name} leaves its panel`);
    }
    const points = [[.5, .5], [.1, .5], [.9, .5]];
    for (const [x, y] of points) {
      const top = document.elementFromPoint(box.left + x * box.width, box.top + y * box.height);
      if (!top || !(e === top || e.contains(top) || top.contains(e))) {
        out.push(`${name} is covered by ${top && top.className}`);
      }
    }
  }
  return out;
}"""


@pytest.mark.slow
def test_every_control_can_be_reached(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.maps_of(adf=quadrants())
    server.publish("state", state_payload(series="0142_grain", recording="/x/" + 40 * "r" + ".h5"))
    page = watched.open(dashboard.url)
    for width, height in ((1024, 768), (1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        for view in ("Session", "Refine", "Library"):
            page.get_by_role("button", name=view, exact=True).click()
            page.wait_for_timeout(400)  # Bokeh redoes the layout of its fields
            assert page.evaluate(COVERED) == [], (view, width)


def test_a_change_that_comes_while_the_page_is_built_is_shown(chromium: Browser) -> None:
    """Tests only the browser's own part: Bokeh may pass on a change before it reports that the document is ready."""
    page = chromium.new_page()
    page.set_content('<span data-text="state"></span>')
    page.add_script_tag(content=read_template("session.js"))
    content = json.dumps({"texts": {"state": "scanning"}})
    page.evaluate("content => ptylive.render(content)", content)
    page.evaluate("content => ptylive.ready({content, cards: '{}'}, {}, [])", content)
    assert page.locator("span").inner_text() == "scanning"
    page.close()
