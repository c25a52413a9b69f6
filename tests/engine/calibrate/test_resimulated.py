"""Calibration of scans that were not used in its development: other probes, geometries and doses.

The required accuracy is the one promised in docs/accuracy.md.
"""

from dataclasses import replace

import pytest
from resimulation import Microscope, Resimulation

from ptylive.schema import Origin

MOS2, EDGE, WS2, GOLD = (
    "mos2_svac_80kV_focus",
    "mos2_edge_80kV_defocus",
    "ws2_messy_60kV_lowdose",
    "au_ac_300kV_parallax",
)
FINE = Microscope(80e3, 25, {}, 0.4, (64, 64), 0.0, 5e4)
COARSE = Microscope(80e3, 30, {}, 1.0, (40, 40), 0.0, 2e4)
WEAK = Microscope(60e3, 30, {}, 0.4, (64, 64), 0.0, 8e3, source_A=0.35, focal_spread_A=30.0)
WIDE = Microscope(300e3, 20, {}, 2.5, (48, 48), 0.0, 1.5e3, source_A=0.6, focal_spread_A=30.0, window=128)

CASES = [
    (MOS2, FINE, -25, 63),
    (MOS2, FINE, 55, -160),
    (MOS2, replace(FINE, energy_eV=60e3, semiangle_mrad=28, step_A=0.35), 0, 130),
    (MOS2, replace(FINE, step_A=(0.4, 0.6), shape=(64, 48), transposed=True), -50, 25),
    (EDGE, COARSE, -180, -50),
    (EDGE, COARSE, 120, 170),
    (EDGE, replace(COARSE, dose=5e3, transposed=True), -90, 80),
    (WS2, WEAK, 15, -100),
    (WS2, replace(WEAK, transposed=True), -45, 45),
    (GOLD, WIDE, -500, 75),
    (GOLD, WIDE, 300, -45),
    (GOLD, replace(WIDE, energy_eV=200e3, semiangle_mrad=15, step_A=3.0, shape=(40, 40)), -900, -135),
]


def angle_apart(one: float, other: float) -> float:
    return abs((one - other + 180) % 360 - 180)


def right(found, microscope, part: float, offset_A: float) -> dict[str, bool]:
    defocus = microscope.aberrations["C10"]
    transform = "transpose" if microscope.transposed else "none"
    return {
        "C10": abs(found.get("C10") - defocus) <= part * abs(defocus) + offset_A,
        "rotation": angle_apart(found.rotation_deg, microscope.rotation_deg) < 2.0,
        "transposition": found.transform == transform or found.origin("detector_transform") is Origin.UNDECIDED,
    }


def simulated(case) -> Resimulation:
    specimen, microscope, defocus, rotation = case
    return Resimulation.of(specimen, replace(microscope, aberrations={"C10": defocus}, rotation_deg=rotation))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("case", CASES[5:6])
def test_one_scan_from_nothing(case):
    scan = simulated(case)
    assert all(right(scan.calibrate(), scan.microscope, 0.10, 10.0).values())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0][:4]}{case[2]:+d}A{case[3]:+d}deg")
def test_full_scans_are_calibrated_within_a_tenth(case):
    scan = simulated(case)
    found = scan.calibrate()
    assert all(right(found, scan.microscope, 0.10, 10.0).values()), found


@pytest.mark.data
@pytest.mark.slow
def test_early_rows():
    """With 15 % of the rows the result is right, or reported as undecided, in all but one of the cases."""
    wrong = []
    for case in CASES:
        scan = simulated(case)
        found = scan.calibrate(0.15)
        decided = found.origin("rotation_deg") is Origin.ESTIMATED
        if decided and not all(right(found, scan.microscope, 0.15, 20.0).values()):
            wrong.append((case, found))
    assert len(wrong) <= 1, wrong


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "aberrations",
    [
        {"C10": -60.0, "C21a": 2000.0, "C21b": 0.0, "C23a": 0.0, "C23b": -1500.0, "C30": 1e5},
        {"C10": -30.0, "C21a": 0.0, "C21b": 0.0, "C23a": 0.0, "C23b": 0.0, "C30": 3e5},
    ],
)
def test_coma_threefold_and_spherical_aberration(aberrations):
    scan = Resimulation.of(MOS2, replace(FINE, aberrations=aberrations, rotation_deg=33.0, dose=1e5, seed=5))
    found = scan.calibrate()
    # a tenth of a turn of phase at the rim of 25 mrad, or less; a quarter of a turn is commonly said to blur a probe
    assert abs(found.get("C10") - aberrations["C10"]) < 10
    for name, tolerance in {"C21a": 400, "C21b": 400, "C23a": 200, "C23b": 200, "C30": 4e4}.items():
        assert abs(found.get(name) - aberrations[name]) < tolerance, name
        assert found.origin(name) is Origin.ESTIMATED
        assert 0 < found.entries[name].uncertainty < 1e5


@pytest.mark.data
@pytest.mark.slow
def test_what_is_known_of_the_probe_stays():
    known = {"C12a": 10.0, "C12b": 0.0, "C30": 2e5}
    scan = Resimulation.of(MOS2, replace(FINE, aberrations={"C10": -40.0, **known}, rotation_deg=15.0))
    found = scan.knowing(**known).calibrate()
    assert {name: found.get(name) for name in known} == known
    assert abs(found.get("C10") + 40) < 10
    assert found.get("C21a") is None
