"""Input in the calibration box, and how the same refinement is called elsewhere."""

import shlex
import tomllib
from concurrent.futures import Future
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_in_memory import CommandSender

from ptylive.dashboard import recipes
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import CalibrationEntry, ServerState
from ptylive.dashboard.panels.calibration import CalibrationPanel, UnclearValueError, parse_assignment, parse_defocus
from ptylive.dashboard.readouts import calibration_texts, quantity
from ptylive.dashboard.requests import Request, parse_request
from ptylive.schema import MetadataError
from ptylive.schema.metadata import typed


@pytest.mark.parametrize(
    ("text", "c10"),
    [
        ("150", -150.0),
        ("−150 Å", 150.0),
        ("15 nm underfocus", -150.0),
        ("20 nm overfocus", 200.0),
        ("1.5 µm", -1.5e4),
        ("150 ± 5.0 Å underfocus", -150.0),
        ("1,5 nm over", 15.0),
        ("0,400 nm over", 4.0),
        ("12 nm under focus", -120.0),
        ("12 nm over-focus", 120.0),
        ("in focus", 0.0),
        ("in focus ± 8.4 Å", 0.0),
        ("in focus, not determined", 0.0),
        ("145 Å underfocus, not determined", -145.0),
    ],
)
def test_defocus_as_a_microscopist_types_it(text: str, c10: float) -> None:
    assert parse_defocus(text) == pytest.approx(c10)


@pytest.mark.parametrize("text", ["", "far", "15 parsec", "1.2.3", "nan", "300,000", "1,500 nm", "__import__('os')"])
def test_what_is_unclear_is_said(text: str) -> None:
    with pytest.raises(UnclearValueError, match=r"^defocus"):
        parse_defocus(text)


@pytest.mark.parametrize(
    ("row", "text", "values"),
    [
        ("energy_eV", "80", {"energy_eV": 80e3}),
        ("energy_eV", "80 keV", {"energy_eV": "80 keV"}),
        ("energy_eV", "0.3 MeV", {"energy_eV": "0.3 MeV"}),
        ("convergence_semiangle_mrad", "25", {"convergence_semiangle_mrad": 25.0}),
        ("convergence_semiangle_mrad", "30 mrad", {"convergence_semiangle_mrad": "30 mrad"}),
        ("scan_step_A", "0.1 nm", {"scan_step_A": "0.1 nm"}),
        ("energy_eV", "80e3", {"energy_eV": "80000.0 eV"}),
        ("energy_eV", "200,5", {"energy_eV": 200.5e3}),
        ("convergence_semiangle_mrad", "25,5 mrad", {"convergence_semiangle_mrad": "25.5 mrad"}),
        ("scan_step_A", "0,3", {"scan_step_A": 0.3}),
        ("scan_step_A", "0,3; 0,4", {"scan_step_A": [0.3, 0.4]}),
        ("scan_step_A", "0,03 nm, 0,04 nm", {"scan_step_A": [0.3, 0.4]}),
        ("beam_center_px", "31,5, 32,5", {"beam_center_px": [31.5, 32.5]}),
        ("beam_center_px", "31.5 32 px", {"beam_center_px": [31.5, 32.0]}),
        ("beam_center_px", "64,64", {"beam_center_px": [64.0, 64.0]}),
        ("detector_pixel_invA", "1,2 mrad", {"detector_pixel_mrad": "1.2 mrad"}),
        ("rotation_deg", "-15,2", {"rotation_deg": -15.2}),
        ("scan_step_A", "0.3,0.4 Å", {"scan_step_A": "0.3,0.4 Å"}),
        ("rotation_deg", "−15.2°", {"rotation_deg": "-15.2°"}),
        ("detector_pixel_invA", "0.2 1/nm", {"detector_pixel_invA": "0.2 1/nm"}),
        ("other", "C30 = 1.2 mm", {"C30": "1.2 mm"}),
        ("other", "optics.energy_eV = 80 keV", {"optics.energy_eV": "80 keV"}),
    ],
)
def test_a_row_takes_any_unit_and_a_bare_number_in_its_own(row: str, text: str, values: dict) -> None:
    assert parse_assignment(row, text) == values
    typed(values)


@pytest.mark.parametrize(
    ("row", "text", "says"),
    [
        ("energy_eV", "0.08", "did you mean"),
        ("energy_eV", "80 parsec", "not a unit for an energy"),
        ("convergence_semiangle_mrad", "0.025", "did you mean 0.025 rad"),
        ("beam_center_px", "31", "needs two numbers, row and column"),
        ("beam_center_px", "1,2,3,4", "needs two numbers, row and column"),
        ("scan_step_A", "-1", "impossible"),
        ("beam_center_px", "nan, 3", "not a number"),
        ("beam_center_px", "1e9, 3", "impossible"),
        ("energy_eV", "", "not a number"),
        ("energy_eV", "300,000", "write 300000 without a comma"),
        ("scan_step_A", "12,5", "'12 Å, 5 Å' for two steps"),
        ("other", "energy_eV = 80", "did you mean 80 keV"),
        ("C10", "30 mrad", "not a unit for a length"),
        ("C10", "1e30", "impossible"),
    ],
)
def test_odd_values_are_questioned_on_the_page(row: str, text: str, says: str) -> None:
    with pytest.raises(UnclearValueError, match=says):
        parse_assignment(row, text)


def test_an_orientation_is_a_word_whatever_is_typed() -> None:
    assert parse_assignment("detector_transform", "3") == {"detector_transform": "3"}
    assert parse_assignment("detector_transform", "1,5;2") == {"detector_transform": "1,5;2"}


def ask(panel: CalibrationPanel, **request: str) -> None:
    panel.set(Request(what="set", **request))


def test_a_refused_value_stays_at_its_row_until_it_is_corrected() -> None:
    sender = CommandSender()
    orders = Orders(sender)
    panel, state = CalibrationPanel(orders), ServerState(uid="a")
    ask(panel, name="energy_eV", value="300,000")
    ask(panel, name="detector_transform", value="flip")
    unknown = MetadataError("settings: detector.transform: unknown detector transform 'flip'", "use words")
    sender.future.set_exception(unknown)
    orders.collect()
    clips, refused = panel.clips(state), panel.lists(state)["refused"]
    assert (clips["edit_energy_eV"], clips["edit_detector_transform"]) == ("300,000", "flip")
    assert refused["energy_eV"].startswith("energy = 300,000 is not a single number: write 300000 without a comma")
    assert refused["detector_transform"] == "orientation: unknown detector transform 'flip': use words"
    assert orders.sentence == refused["detector_transform"], "the same words at both places"

    ask(panel, name="energy_eV", value="12.5")
    ask(panel, name="detector_transform", key="forget")
    assert panel.lists(state)["refused"] == {}
    assert panel.clips(state)["edit_energy_eV"] == ""
    ask(panel, name="other", value="C30")
    panel.clips(ServerState(uid="another scan"))
    assert panel.lists(state)["refused"] == {}


@pytest.mark.parametrize(
    ("away", "left"),
    [
        (Request(what="set", key="forget"), set()),
        (Request(what="undo"), set()),
        (Request(what="reset"), set()),
        (Request(what="estimate", name="C10"), {"energy_eV"}),
        (Request(what="estimate"), {"energy_eV", "C10"}),
    ],
)
def test_what_was_refused_can_be_put_away(away: Request, left: set[str]) -> None:
    """Regression: the reason stayed below its row until the next scan, unless the field was opened again."""
    panel, state = CalibrationPanel(Orders(CommandSender())), ServerState(uid="a")
    for name in ("energy_eV", "C10"):
        ask(panel, name=name, value="12 kg")
    assert set(panel.lists(state)["refused"]) == {"energy_eV", "C10"}
    panel.takers()[away.what](away)
    assert set(panel.lists(state)["refused"]) == left


def test_a_row_is_edited_in_the_unit_it_shows() -> None:
    panel = CalibrationPanel(Orders(Mock()))
    told = {
        "energy_eV": 80e3,
        "convergence_semiangle_mrad": 25.0,
        "C10": -1500.0,
        "scan_step_A": [0.3, 0.3],
        "rotation_deg": -15.2,
        "detector_pixel_invA": 0.02,
    }
    state = ServerState.model_validate(
        {"calibration": {name: {"value": v, "origin": "given"} for name, v in told.items()}}
    )
    typed_texts = {name: panel.clips(state)[f"edit_{name}"] for name in told}
    assert typed_texts == {
        "energy_eV": "80 kV",
        "convergence_semiangle_mrad": "25 mrad",
        "C10": "150 nm underfocus",
        "scan_step_A": "0.3 Å",
        "rotation_deg": "-15.2 °",
        "detector_pixel_invA": "0.02 1/Å",
    }
    for name, text in typed_texts.items():  # Enter without a change changes nothing
        values = typed(parse_assignment(name, text))
        assert np.allclose(values[name], np.unique(told[name]))
    assert parse_defocus("20", "nm") == -200.0


def test_values_by_their_names() -> None:
    assert parse_assignment("beam_center_px", "31.5, 32") == {"beam_center_px": [31.5, 32.0]}
    assert parse_assignment("rotation_deg", "−15.2") == {"rotation_deg": -15.2}
    assert parse_assignment("detector_transform", "transpose") == {"detector_transform": "transpose"}
    shown = quantity("detector_transform", CalibrationEntry(value="none", origin="given"), "")
    assert shown == "as recorded"
    assert parse_assignment("detector_transform", shown) == {"detector_transform": "none"}
    assert parse_assignment("other", "C30 = 1e7") == {"C30": 1e7}
    with pytest.raises(UnclearValueError):
        parse_assignment("other", "C30")


@given(st.text(max_size=200))
def test_no_request_raises(content: str) -> None:
    parse_request(content)


def test_the_same_refinement_elsewhere() -> None:
    preset = {"num_slices": 2, "total_thickness_A": 8.5, "algorithm": "auto"}
    words = shlex.split(recipes.command_line(preset, "/data/my scan.h5"))
    assert words[:5] == ["ptylive", "refine", "/data/my scan.h5", "-o", "/data/my scan_results.h5"]
    assert "num_slices=2" in words
    assert tomllib.loads(recipes.preset_file(preset))["refine"] == preset
    compile(recipes.python(preset, "tcp://127.0.0.1:9998"), "recipe", "exec")


def test_a_pin_keeps_a_value_for_later_scans_until_it_is_clicked_again() -> None:
    sender = Mock()
    panel = CalibrationPanel(Orders(sender))
    request = parse_request('{"what": "pin", "name": "C10"}')
    state = {"calibration": {"C10": {"value": -150.0, "origin": "estimated"}}}
    panel.clips(ServerState.model_validate(state))
    panel.pin(request)
    sender.submit.assert_called_with("configure", values={"C10": -150.0}, pin=True)
    pinned = ServerState.model_validate({**state, "pinned": {"defocus_A": 150.0}})
    assert calibration_texts(pinned)["cal_C10_origin"] == "pinned"
    panel.clips(pinned)
    sender.submit.return_value = reply = Future()
    panel.pin(request)
    sender.submit.assert_called_with("release", names=["C10"])
    reply.set_result({})
    panel._orders.collect()
    assert panel._orders.sentence == "defocus unpinned: later scans use their own value"
    panel.pin(parse_request('{"what": "pin", "name": "energy_eV"}'))
    assert "nothing to pin" in panel._orders.sentence


def test_the_page_says_what_cannot_be_estimated() -> None:
    sender = Mock()
    panel = CalibrationPanel(Orders(sender))
    for request, not_estimated, said in (
        ('"name": "C10"', {}, "defocus is estimated from the data"),
        (
            '"name": ""',
            {"rotation_deg": "it needs scan_step_A"},
            "scan rotation cannot be estimated: it needs scan step",
        ),
    ):
        sender.submit.return_value = reply = Future()
        panel.estimate(parse_request(f'{{"what": "estimate", {request}}}'))
        reply.set_result({"overrides": {}, "not_estimated": not_estimated})
        panel._orders.collect()
        assert panel._orders.sentence == said


def test_jumps_between_lines_are_not_pinned_for_other_scans() -> None:
    sender = Mock()
    panel = CalibrationPanel(Orders(sender))
    smooth = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    entry = {"value": [*smooth, 0.5, 0.0, -0.5, 0.0], "origin": "estimated"}
    state = ServerState.model_validate({"calibration": {"descan_px": entry}})
    assert panel.clips(state)["edit_descan_px"] == "1, 0, 0, 0, 0, 0, 2, 0, 0, 0 px"
    panel.pin(parse_request('{"what": "pin", "name": "descan_px"}'))
    sender.submit.assert_not_called()
    assert "does not apply to other scans" in panel._orders.sentence
    assert "over the field, lines jump" in calibration_texts(state)["cal_descan_px"]


def test_what_a_foreign_file_calls_a_descan_breaks_no_page() -> None:
    for value in ([1.0, 2.0, 3.0], 4.0, [], "much", [1.0] * 11):
        state = ServerState.model_validate({"calibration": {"descan_px": {"value": value, "origin": "estimated"}}})
        panel = CalibrationPanel(Orders(Mock()))
        assert "edit_descan_px" in panel.clips(state)
        panel.pin(parse_request('{"what": "pin", "name": "descan_px"}'))
        assert "cal_descan_px" in calibration_texts(state)
