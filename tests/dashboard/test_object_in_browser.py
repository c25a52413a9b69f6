"""The refined object and its probe as microscopists look at them, and dragging over pictures."""

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.server.wire.messages import array_to_plain

pytestmark = pytest.mark.browser
STEP_A, PIXEL_A = 0.5, 0.25


def picture(data: np.ndarray) -> dict[str, object]:
    return {**array_to_plain(data), "sampling_A": [PIXEL_A, PIXEL_A]}


def modes(side: int = 64, radius: int = 9) -> np.ndarray:
    """Two modes with the same round aperture."""
    rows, cols = np.indices((side, side)) - side // 2
    aperture = (np.hypot(rows, cols) <= radius).astype(complex)
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(aperture)))
    return np.stack([3 * probe, np.roll(probe, 4, axis=0)]).astype(np.complex64)


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    """An object whose left half has phase 0 and right half a quarter turn, dark above and bright below."""
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(obf=quadrants(), adf=quadrants())
    phase = np.zeros((128, 128), np.float32)
    phase[:, 64:] = np.pi / 2
    amplitude = np.full((128, 128), 0.5, np.float16)
    amplitude[64:] = 1.0
    told = {"uid": "scan-1", "run": "run1", "state": "done", "losses": [2.0, 1.0], "phases": ["sweep", "lbfgs"]}
    pictures = {"object": picture(phase), "object_amplitude": picture(amplitude), "probe": picture(modes())}
    run = {"state": "done", "run": "run1", "epoch": 2, "loss": 1.0}
    server.publish("state", state_payload(state="complete", refinement=run))
    server.publish("refinement", {**told, **pictures})
    page = watched.open(dashboard.url)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


def quarters(page: Page, selector: str = "#canvas-object") -> np.ndarray:
    """Colours (2, 2, 3) at the centres of the quadrants of a square picture in the middle of a panel."""
    shot = pixels(page, selector)
    height, width = shot.shape[:2]
    quarter = min(height, width) // 6
    return np.array([[shot[height // 2 + r * quarter, width // 2 + c * quarter] for c in (-1, 1)] for r in (-1, 1)])


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080)])
def test_the_object_is_shown_as_phase_amplitude_and_both(page: Page, watched: Watched, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.get_by_role("button", name="Refine", exact=True).click()
    shows = page.get_by_label("what to show of the object")
    eventually(lambda: np.ptp(quarters(page).sum(-1), axis=1).min() > 200)
    assert np.ptp(quarters(page).sum(-1), axis=0).max() < 30, "phase: left and right differ, above and below do not"
    shows.select_option("amplitude")
    eventually(lambda: np.ptp(quarters(page).sum(-1), axis=0).min() > 200)
    assert np.ptp(quarters(page).sum(-1), axis=1).max() < 30
    expect(page.locator("[data-text=object_title]")).to_have_text("Object amplitude")
    shows.select_option("phase and amplitude")
    eventually(lambda: np.ptp(quarters(page)[1], axis=0).max() > 80)
    found = quarters(page)
    assert found[0].sum() < 0.6 * found[1].sum(), "brightness: amplitude"
    assert np.abs(found[1, 0] - found[1, 1]).max() > 80, "hue: phase"
    expect(page.locator("[data-text=object_units]")).to_have_text("hue: phase; brightness: amplitude 0.50 to 1.00")
    shows.select_option("phase")
    eventually(lambda: np.ptp(quarters(page).sum(-1), axis=1).min() > 200)
    assert watched.complaints == []


@pytest.mark.slow
def test_probe_modes_are_shown_in_the_plane_of_the_aperture(page: Page, watched: Watched) -> None:
    page.get_by_role("button", name="Refine", exact=True).click()
    shot = "#canvas-probe"
    bright = lambda: float((pixels(page, shot).sum(-1) > 600).mean())  # noqa: E731
    eventually(lambda: 0 < bright() < 0.02)
    expect(page.locator("[data-text=probe_powers]")).to_have_text("90 · 10 %")
    page.get_by_role("button", name="Fourier", exact=True).click()
    eventually(lambda: bright() > 0.05)
    expect(page.locator("[data-text=probe_powers]")).to_have_text("90 · 10 %")
    page.get_by_role("button", name="Fourier", exact=True).click()
    eventually(lambda: bright() < 0.02)
    assert watched.complaints == []


def drag(page: Page, selector: str, start: tuple[float, float], end: tuple[float, float], key: str) -> None:
    """Drag between two points, given as fractions of the height of a square picture from its middle; right, down."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    middle, side = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), min(box["width"], box["height"])
    places = [(middle[0] + x * side, middle[1] + y * side) for x, y in (start, end)]
    page.keyboard.down(key)
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()
    page.keyboard.up(key)


@pytest.mark.slow
def test_shift_and_a_drag_show_the_mean_pattern_of_a_rectangle(
    server: FakeServer, page: Page, watched: Watched
) -> None:
    pattern = np.zeros((32, 32), np.float32)
    pattern[8:24, 8:24] = 100.0
    server.replies["pattern"] = {"pattern": array_to_plain(pattern), "frames": 256}
    before = pixels(page, "#canvas-map-0")
    drag(page, "#canvas-map-0", (-0.25, -0.25), (0.25, 0.0), "Shift")
    eventually(lambda: bool(server.received("pattern")))
    asked = server.received("pattern")[-1]
    wanted = np.array([[16, 16], [32, 48]])
    assert np.abs(np.array([asked["point"], asked["to"]]) - wanted).max() <= 2, asked
    expect(page.locator("[data-text=pattern_where]")).to_contain_text("mean of 256 frames")
    green = lambda: int((np.abs(pixels(page, "#canvas-map-3") - [0x4C, 0xFF, 0x9D]).max(-1) < 12).sum())  # noqa: E731
    eventually(lambda: green() > 100)
    after = pixels(page, "#canvas-map-0")
    corner = slice(2, 20)
    assert (before[corner, corner] == after[corner, corner]).all(), "the map was not moved by the drag"
    assert watched.complaints == []


@pytest.mark.slow
def test_control_and_a_drag_measure_lengths_and_angles(page: Page, watched: Watched) -> None:
    """The map is 32 Å high and fills the shorter side of its panel."""
    said = page.locator("#cursor")
    drag(page, "#canvas-map-0", (-0.25, 0.0), (0.25, 0.0), "Control")
    expect(said).to_contain_text("Å · 0.0° from horizontal")
    assert abs(float(said.inner_text().split()[0]) - 16.0) < 0.4
    drag(page, "#canvas-map-0", (-0.25, 0.25), (0.0, 0.0), "Control")
    expect(said).to_contain_text("45.0° between the two")
    blue = lambda: int((np.abs(pixels(page, "#canvas-map-0") - [0x4C, 0xC2, 0xFF]).max(-1) < 12).sum())  # noqa: E731
    assert blue() > 200
    page.keyboard.press("Escape")
    eventually(lambda: blue() == 0)
    page.get_by_role("button", name="Refine", exact=True).click()
    eventually(lambda: pixels(page, "#canvas-object").max() > 200)
    drag(page, "#canvas-object", (0.0, 0.1), (0.0, -0.1), "Control")
    expect(said).to_contain_text("Å · 90.0° from horizontal")
    assert watched.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080), (2560, 1440)])
def test_single_slices_are_shown_as_phase_amplitude_and_both(
    server: FakeServer, page: Page, width: int, height: int
) -> None:
    """The second slice is bright on the left, and has another phase in its lower half."""
    page.set_viewport_size({"width": width, "height": height})
    phases, amplitudes = np.zeros((2, 128, 128), np.float16), np.full((2, 128, 128), 0.5, np.float16)
    phases[1, 64:] = np.pi / 2
    amplitudes[1, :, :64] = 1.0
    slices = {"slices": picture(phases), "slice_amplitudes": picture(amplitudes)}
    server.publish("refinement", {**(server.refinement or {}), **slices})
    page.get_by_role("button", name="Refine", exact=True).click()
    shows, slider = page.get_by_label("what to show of the object"), page.locator("#slice")
    expect(slider).to_be_visible()
    slider.fill("2")
    eventually(lambda: np.ptp(quarters(page).sum(-1), axis=0).min() > 200)
    assert np.ptp(quarters(page).sum(-1), axis=1).max() < 30, "phase: above and below differ"
    shows.select_option("amplitude")
    eventually(lambda: np.ptp(quarters(page).sum(-1), axis=1).min() > 200)
    assert np.ptp(quarters(page).sum(-1), axis=0).max() < 30, "amplitude: left and right"
    expect(page.locator("#slice-text")).to_have_text("slice 2 of 2")
    shows.select_option("phase and amplitude")
    eventually(lambda: np.abs(quarters(page)[0, 0] - quarters(page)[1, 0]).max() > 80)
    assert quarters(page)[:, 1].sum() < 0.6 * quarters(page)[:, 0].sum(), "brightness: amplitude"
    slider.fill("0")
    expect(page.locator("#slice-text")).to_have_text("all slices")
    eventually(lambda: quarters(page)[0].sum() < 0.6 * quarters(page)[1].sum())
