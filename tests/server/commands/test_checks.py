"""Findings before a refinement: what is fine, doubtful, hopeless, or cannot be known."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.calibrate import independent
from ptylive.engine.calibrate.independent import measured_rotation
from ptylive.engine.calibrate.sign import Agreement
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.detector import Detector
from ptylive.schema.metadata import overlay
from ptylive.schema.preset import Preset
from ptylive.schema.scan import Scan
from ptylive.server.commands import checks
from ptylive.server.commands.checks import Check, CheckCommands, Checked
from ptylive.server.process.config import ServerConfig
from ptylive.server.session.scan_session import ScanSession

OPTICS = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0}


def checked(step_A: float = 0.4, available: int = 10**10, preset: dict[str, Any] | None = None, **values: Any) -> dict:
    header = overlay(
        ScanHeader(uid="", series="", frames=0, scan=Scan()), {"scan_step_A": step_A, "scan_shape": (64, 64)}
    )
    header = overlay(header, OPTICS)
    header = ScanHeader(**{**vars(header), "detector": header.detector.model_copy(update={"shape": (128, 128)})})
    known = {"disc_radius_px": 6.0, "detector_pixel_invA": 0.05, "C10": -50.0, "rotation_deg": 3.0}
    values = {name: value for name, value in {**OPTICS, **known, **values}.items() if value is not None}
    found = {"disc_radius_px": Origin.ESTIMATED}
    entries = {name: Quantity(value, found.get(name, Origin.GIVEN)) for name, value in values.items()}
    looked = Checked(header, Calibration(entries), Preset.from_mapping(preset or {}), 4096, available)
    return {check.name: check for check in looked.all()}


def test_full_pixels_are_said() -> None:
    header = ScanHeader("", "", 0, scan=Scan(), detector=Detector(shape=(8, 8), saturation_value=4095))
    looked = Checked(header, Calibration(), Preset(), 4096, 10**10)
    assert looked.saturation().text == "no pixel reached 4095 counts"
    found = replace(looked, saturated=3).saturation()
    assert (found.state, found.text) == ("warn", "pixels of 3 frames are saturated (4095 counts)")
    assert checked()["saturation"].state == "unknown"
    opened = replace(looked, in_memory=False).saturation()
    assert (opened.state, opened.text[:11]) == ("unknown", "not counted"), "none of its frames has been looked at"


def test_why_the_rotation_is_not_compared_is_said() -> None:
    """Regression: of every scan opened from the library it said "too few points or no scan step"."""
    looked = Checked(ScanHeader("", "", 0, scan=Scan()), Calibration(), Preset(), 4096, 10**10)
    assert looked.rotation().text.endswith("not compared with the data: too few points or no scan step")
    opened = replace(looked, in_memory=False).rotation()
    assert (opened.state, opened.text.partition(": ")[2].partition(": ")[2]) == (
        "unknown",
        "its frames are read when a value is changed",
    )


@pytest.mark.parametrize(("shape", "words"), [((128, 128), "about 810 MB of 10 GB free"), ((8, 8), "about 3 MB of")])
def test_memory_is_in_a_unit_that_suits_it(shape: tuple[int, int], words: str) -> None:
    header = ScanHeader("", "", 0, scan=Scan(), detector=Detector(shape=shape))
    assert Checked(header, Calibration(), Preset(), 4096, 10**10).memory().text.startswith(words)


@pytest.mark.parametrize(("step", "state"), [(0.4, "ok"), (2.7, "warn"), (10.0, "bad")])
def test_the_overlap_is_judged_by_the_step(step: float, state: str) -> None:
    assert checked(step)["overlap"].state == state


@pytest.mark.parametrize(("c10", "state"), [(-50.0, "ok"), (-300.0, "warn"), (2000.0, "bad")])
def test_the_window_holds_the_probe(c10: float, state: str) -> None:
    assert checked(C10=c10)["sampling"].state == state


def test_what_is_not_known_is_said() -> None:
    found = checked(detector_pixel_invA=None, C10=None, rotation_deg=None, energy_eV=None)
    assert found["sampling"].state == found["overlap"].state == "unknown"
    assert found["defocus"].text == "not known: 0 is assumed"
    assert (found["rotation"].state, found["rotation"].text[:9]) == ("unknown", "not known")


@pytest.mark.parametrize("c10", [None, -50.0])
def test_before_the_first_patterns_only_a_given_defocus_is_judged(c10: float | None) -> None:
    found = checked(disc_radius_px=None, C10=c10)
    awaited = "the defocus is not estimated yet"
    assert [found[name].text == awaited for name in ("overlap", "sampling")] == [c10 is None] * 2
    assert found["defocus"].text == ("not estimated yet" if c10 is None else "given")
    assert found["thickness"].state == "ok"


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ({}, "one slice, unless trials see depth (depth of focus 67 Å)"),
        ({"num_slices": 1}, "given: one slice"),
        ({"total_thickness_A": 100.0}, "given: 100 Å, 5 slices of 20 Å, or one slice, depending on trials"),
        ({"total_thickness_A": 100.0, "slice_distances_A": (20.0,)}, "given: 100 Å, 5 slices of 20 Å"),
        ({"num_slices": 4, "total_thickness_A": 100.0}, "given: 100 Å, 4 slices of 25 Å"),
        ({"num_slices": 3, "slice_distances_A": (10.0, 10.0)}, "given: 30 Å, 3 slices of 10 Å"),
    ],
)
def test_slices_are_told_before_the_run(preset: dict[str, Any], said: str) -> None:
    """80 kV and 25 mrad: a depth of focus of 67 Å."""
    assert checked(preset=preset)["thickness"].text == said


def test_slices_thicker_than_the_depth_of_focus_are_doubtful() -> None:
    assert checked(preset={"num_slices": 2, "total_thickness_A": 200.0})["thickness"].state == "warn"
    assert checked(energy_eV=None)["thickness"].state == "unknown"


def test_memory_and_time() -> None:
    assert checked()["memory"].state == "ok"
    assert checked(available=10**8)["memory"].state == "bad"
    long = {"num_slices": 40, "total_thickness_A": 200, "epoch_max": 500, "probe_modes": 8}
    assert checked(preset=long)["time"].state == "warn"
    assert checked(preset={"num_slices": 1})["time"].text == "about 60 s"  # 4096 patterns of 128 x 128
    assert checked()["time"].text == "about 60 s, longer if thick"
    assert checked(preset={"epoch_max": 200})["time"].text.startswith("about 9 min")
    assert checked(preset=long)["time"].text == "about 29.8 h"


@pytest.fixture(scope="module")
def engine() -> LiveEngine:
    """A scan with rotation 0 and nothing transposed."""
    scan = WeakPhaseScan.make({}, n=16, strength=0.1)
    return reconstruct(scan.header(), lambda: batches(scan.patterns.astype(np.float32)), ("bf",))[0]


def rotation_checked(engine: LiveEngine, rotation_deg: float, transform: str, origin: Origin = Origin.GIVEN) -> Checked:
    calibration = Calibration(engine.calibration.entries if engine.calibration else {}).having(
        rotation_deg=Quantity(rotation_deg, origin), detector_transform=Quantity(transform, Origin.GIVEN)
    )
    measured = measured_rotation(calibration, engine.store)
    return Checked(engine.header, calibration, Preset(), 256, 10**10, measured=measured)


def rotation_check(engine: LiveEngine, rotation_deg: float, transform: str, origin: Origin = Origin.GIVEN) -> Check:
    return rotation_checked(engine, rotation_deg, transform, origin).rotation()


def in_doubt(engine: LiveEngine, **quantities: Quantity) -> Checked:
    """The scan half a turn from what the dark field says, as in a thick crystal."""
    found = rotation_checked(engine, 180.0, "none")
    measured = found.measured
    assert measured is not None
    sure = replace(measured, fit=replace(measured.fit, sign=Agreement(0.9)))
    return replace(found, measured=sure, calibration=found.calibration.having(**quantities))


@pytest.mark.parametrize(("spread", "says"), [(None, "°"), (0.0, "°"), (0.4, " ± 0.4°")])
def test_a_rotation_of_unknown_spread_is_not_certain(engine: LiveEngine, spread: float | None, says: str) -> None:
    """Regression: a scan of a few rows had a rotation of −1.6 ± 0°."""
    found = rotation_checked(engine, 20.0, "none")
    assert found.measured is not None
    text = replace(found, measured=replace(found.measured, spread_deg=spread)).rotation().text
    assert re.search(r"the data say −?[\d.]+(°| ± [\d.]+°)", text)[1] == says


def test_half_a_turn_from_what_the_dark_field_says_is_doubtful(engine: LiveEngine) -> None:
    looked = in_doubt(engine)
    assert looked.half_turn_is_in_doubt
    assert (looked.rotation().state, looked.rotation().use) == ("warn", ("rotation_deg",))


@pytest.mark.parametrize(("rotation_deg", "state"), [(180.0, "ok"), (-170.0, "ok"), (0.0, "bad"), (4.0, "bad")])
def test_a_refinement_through_depth_settles_the_half_turn(engine: LiveEngine, rotation_deg: float, state: str) -> None:
    """Regression: the dark field, which errs in thick crystals, was believed against the loss."""
    found = replace(in_doubt(engine), settled=("run3", rotation_deg)).rotation()
    assert (found.state, bool(found.use)) == (state, state == "bad")
    assert "run3 leaves less" in found.text


@pytest.mark.parametrize(
    ("c10_A", "depth_A", "origin", "thickness_A", "state"),
    [
        (60.0, 49.0, Origin.ESTIMATED, None, "ok"),  # overfocus: turned, the focus would lie 169 Å above the entrance
        (0.0, 72.0, Origin.ESTIMATED, None, "ok"),
        (-60.0, 73.0, Origin.ESTIMATED, None, "warn"),  # 47 Å below the entrance after the turn
        (-60.0, 73.0, Origin.ESTIMATED, 40.0, "warn"),  # not inside either way
        (-60.0, 30.0, Origin.ESTIMATED, 60.0, "ok"),  # 90 Å deep in 60 Å after the turn
        (60.0, 0.0, Origin.DEFAULT, None, "warn"),
    ],
)
def test_the_plane_in_focus_has_to_lie_inside_the_specimen(
    engine: LiveEngine, c10_A: float, depth_A: float, origin: Origin, thickness_A: float | None, state: str
) -> None:
    looked = in_doubt(engine, C10=Quantity(c10_A, Origin.GIVEN), depth_A=Quantity(depth_A, origin, 5.0))
    looked = replace(looked, preset=Preset.from_mapping({"total_thickness_A": thickness_A} if thickness_A else {}))
    assert looked.rotation().state == state
    assert looked.half_turn_is_in_doubt == (state == "warn")


def test_a_defocus_is_not_called_zero_before_anything_is_known(engine: LiveEngine) -> None:
    """On a new machine the maps, and with them the calibration, wait for their code to be compiled."""
    check = replace(in_doubt(engine), calibration=Calibration()).defocus()
    assert (check.state, check.text) == ("unknown", "not estimated yet")


def test_a_defocus_that_was_found_places_no_plane(engine: LiveEngine) -> None:
    c10, depth = Quantity(60.0, Origin.ESTIMATED), Quantity(49.0, Origin.ESTIMATED, 5.0)
    assert in_doubt(engine, C10=c10, depth_A=depth).rotation().state == "warn"


def test_a_defocus_known_but_for_the_half_turn_is_not_called_zero(engine: LiveEngine) -> None:
    check = in_doubt(engine, C10=Quantity(-60.0, Origin.UNDECIDED, 5.0)).defocus()
    assert (check.state, check.text[:22]) == ("warn", "60 ± 5 Å under or over")


def test_a_defocus_that_the_dark_field_contradicts_may_be_estimated(engine: LiveEngine) -> None:
    given = in_doubt(engine, C10=Quantity(60.0, Origin.GIVEN))
    assert given.defocus().state == "ok"
    check = replace(given, inverted=True).defocus()
    assert (check.state, check.use) == ("warn", ("C10",))
    assert check.text == "given, the dark field shows the other sign, but it can be wrong in thick crystals"
    assert replace(in_doubt(engine, C10=Quantity(60.0, Origin.ESTIMATED)), inverted=True).defocus().state == "ok"


def test_a_rotation_that_the_dark_field_alone_contradicts_may_be_estimated(engine: LiveEngine) -> None:
    checked = rotation_checked(engine, 20.0, "none")
    assert checked.measured is not None
    fit = replace(checked.measured.fit, curl=0.5)
    blurred = replace(checked, measured=replace(checked.measured, fit=fit))
    assert blurred.rotation().state == "unknown"
    check = replace(blurred, inverted=True).rotation()
    said = "given: 20.0°, the dark field says half a turn more, but it can be wrong in thick crystals"
    assert (check.state, check.text) == ("warn", said)
    assert check.use == ("rotation_deg",)


@pytest.mark.parametrize(
    ("rotation_deg", "transform", "state", "says"),
    [
        (0.0, "none", "ok", "the data say"),
        (10.0, "none", "warn", "the data say"),
        (90.0, "none", "bad", "the data say"),
        (-90.0, "none", "bad", "the data say"),
        (45.0, "none", "bad", "the data say"),
        (0.0, "transpose", "bad", "transposed"),
        (90.0, "transpose", "bad", "transposed"),
        (0.0, "flip_rows", "bad", "transposed"),
    ],
)
def test_the_rotation_is_compared_with_the_data(
    engine: LiveEngine, rotation_deg: float, transform: str, state: str, says: str
) -> None:
    for origin in (Origin.GIVEN, Origin.DEFAULT):
        found = rotation_check(engine, rotation_deg, transform, origin)
        assert (found.state, says in found.text) == (state, True), found
        angle, _, spread = found.text.partition("the data say ")[2].split()[:3]
        assert len(angle.partition(".")[2]) == (2 if float(spread.rstrip("°,")) < 0.05 else 1), found


def test_data_that_cannot_tell_the_rotation_are_said_to() -> None:
    scan = WeakPhaseScan.make({}, n=16)
    noise = np.random.default_rng(0).poisson(20.0 * (scan.patterns[:1] > 1e-6), scan.patterns.shape).astype(np.float32)
    blind = reconstruct(scan.header(), lambda: batches(noise), ("bf",))[0]
    found = rotation_check(blind, 90.0, "none")
    assert (found.state, "the data do not determine it" in found.text) == ("unknown", True), found


def test_a_check_computes_on_copies_while_frames_go_on_arriving(
    engine: LiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: contrast and a map were computed under the scan's lock, for which its frames wait."""
    scan = ScanSession(engine.header, engine, engine.header)
    assert engine.store is not None and engine.calibration is not None
    seen: list[tuple[str, bool, bool]] = []
    """What was computed, whether frames had to wait or were looked at, and whether there were coefficients."""

    def computed(name: str, found: Any) -> Any:
        def watched(_calibration: Calibration, store: Any, *_maps: Any) -> Any:
            arrays = [(getattr(store, part), getattr(engine.store, part)) for part in ("bins", "moments", "regions")]
            apart = not any(np.shares_memory(copied, arriving) for copied, arriving in arrays)
            seen.append((name, scan.lock.locked() or not apart, store.bins.size > 0))
            return found

        return watched

    monkeypatch.setattr(checks, "measured_rotation", computed("rotation", None))
    monkeypatch.setattr(checks, "contradicts_half_turn", computed("half turn", True))
    monkeypatch.setattr(independent, "MOST_COEFFICIENTS", engine.store.bins.size)
    given = engine.calibration.having(rotation_deg=Quantity(3.0, Origin.GIVEN))
    monkeypatch.setattr(engine, "calibration", given)
    stage: Any = SimpleNamespace(shown=scan)
    commands = CheckCommands(ServerConfig(), stage, SimpleNamespace())  # type: ignore[arg-type]
    assert {check["name"] for check in commands.command_check()["checks"]} >= {"overlap", "rotation"}
    monkeypatch.setattr(independent, "MOST_COEFFICIENTS", engine.store.bins.size - 1)
    commands.command_check()  # too large for a map: its coefficients are not copied
    assert seen == [("half turn", False, True), ("rotation", False, True), ("rotation", False, False)]


def test_patterns_are_measured_again_only_if_they_or_the_values_have_changed(
    engine: LiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: every change of a setting filtered a fine phase again, for seconds in which nothing was answered."""
    scan = ScanSession(engine.header, engine, engine.header)
    assert engine.calibration is not None
    measured: list[float] = []

    def rotation(calibration: Calibration, _store: Any) -> None:
        measured.append(calibration.get("rotation_deg"))

    monkeypatch.setattr(checks, "measured_rotation", rotation)
    commands = CheckCommands(ServerConfig(), SimpleNamespace(shown=scan), SimpleNamespace())  # type: ignore[arg-type]

    def having(angle_deg: float) -> Calibration:
        assert engine.calibration is not None
        return engine.calibration.having(rotation_deg=Quantity(angle_deg, Origin.ESTIMATED))

    monkeypatch.setattr(engine, "calibration", having(1.0))
    for modes in (1, 2):
        commands.command_check({"probe_modes": modes})
    assert measured == [1.0]
    monkeypatch.setattr(engine, "calibration", having(2.0))
    commands.command_check()
    scan.coverage = np.ones((2, 3), bool)  # other frames
    commands.command_check()
    another = ScanSession(replace(engine.header, uid="another"), engine, engine.header)
    another.coverage = scan.coverage
    commands._stage.shown = another  # type: ignore[misc]
    commands.command_check()
    assert measured == [1.0, 2.0, 2.0, 2.0]


def test_a_copy_without_coefficients_measures_the_same_rotation(engine: LiveEngine) -> None:
    assert engine.store is not None and engine.calibration is not None
    light = engine.store.snapshot(coefficients=False)
    assert light.bins.size == 0
    found, expected = (measured_rotation(engine.calibration, store) for store in (light, engine.store))
    assert found is not None and expected is not None
    assert (found.fit.rotation_deg, found.spread_deg) == (expected.fit.rotation_deg, expected.spread_deg)
