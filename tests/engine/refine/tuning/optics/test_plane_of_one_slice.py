"""A single slice below a given focus, which is that of the entrance surface."""

from dataclasses import replace

import pytest
from quick_first import quick_first

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.optics.freed_optics import Freed, FreedTrials
from ptylive.engine.refine.tuning.optics.plane_of_one_slice import in_its_own_plane
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
SETTINGS = {"window_px": 32, "probe_modes": 1, "num_slices": 1, "regime": "thin", "source_size_A": 0.0}
PRESET = Preset.from_mapping(SETTINGS)
MIDDLE_A = -60.0
"""C10 of the plane of the simulated sheet."""


def focused(dataset: Dataset, c10_A: float, origin: Origin = Origin.GIVEN) -> Dataset:
    optics = {"C10": c10_A, "C12a": 0.0, "C12b": 0.0}
    given = {name: Quantity(value, origin) for name, value in optics.items()}
    return replace(dataset, calibration=dataset.calibration.having(**given))


@pytest.fixture(scope="module")
def still(drifted) -> Dataset:
    return drifted((0.0, 0.0), 3)


@pytest.fixture
def ending(monkeypatch):
    """Prescribe the gain over the given focus, and how far below it trials end, in depths of focus."""

    def by(gain, depths):
        def loss(share):
            return HeldOutLoss(tuple(200.0 * (1 - share) * (1 + 0.02 * k) for k in range(16)))

        def freed(self, dataset):
            assert dataset.calibration.origin("C10") is Origin.ESTIMATED
            assert dataset.calibration.origin("C12a") is Origin.GIVEN
            moved_A = depths * dataset.calibration.depth_of_focus_A
            c10_A = dataset.calibration.aberrations["C10"] + moved_A
            c10 = Quantity(c10_A, Origin.ESTIMATED)
            return Freed(replace(dataset, calibration=dataset.calibration.having(C10=c10)), loss(gain), abs(moved_A))

        monkeypatch.setattr(FreedTrials, "fixed", lambda self, dataset: loss(0.0))
        monkeypatch.setattr(FreedTrials, "freed", freed)
        monkeypatch.setattr(FreedTrials, "followed", lambda self, found: found)

    return by


@pytest.mark.slow
def test_a_sheet_that_lies_below_is_found(still):
    """It lies 25 Å below the focus given; a depth of focus is 67 Å."""
    tuned = in_its_own_plane(Tuned(focused(still, MIDDLE_A - 25.0), PRESET), CPU)
    calibration = tuned.dataset.calibration
    assert calibration.aberrations["C10"] == pytest.approx(MIDDLE_A, abs=10.0)
    assert calibration.origin("C10") is Origin.GIVEN
    assert "below the given focus, which is that of the entrance surface: held-out patterns are" in tuned.words[-1]


@pytest.mark.parametrize(
    ("gain", "depths", "moves"),
    quick_first(
        [(0.01, 0.4, True), (0.01, 1.01, False), (0.0, 0.4, False), (0.01, 0.04, False), (0.01, -0.4, False)], 3
    ),
    ids=["deeper", "too-deep", "no-better", "next-to-nothing", "higher"],
)
def test_it_moves_down_if_held_out_patterns_gain(still, ending, gain, depths, moves):
    ending(gain, depths)
    dataset = focused(still, MIDDLE_A)
    tuned = in_its_own_plane(Tuned(dataset, PRESET), CPU)
    if not moves:
        assert tuned.dataset is dataset and not tuned.words
        return
    assert tuned.dataset.calibration.origin("C10") is Origin.GIVEN  # a given defocus settles the half turn
    below_A = depths * dataset.calibration.depth_of_focus_A
    assert tuned.dataset.calibration.aberrations["C10"] == pytest.approx(MIDDLE_A + below_A)
    assert tuned.words[-1].startswith(f"one slice {below_A:.3g} Å below the given focus, which is that of the entrance")


@pytest.mark.parametrize(
    ("origin", "settings"),
    [
        (Origin.ESTIMATED, {}),
        (Origin.GIVEN, {"scan_defocus": False}),
        (Origin.GIVEN, {"update_aberrations": True}),
        (Origin.GIVEN, {"regime": "weak"}),
        (Origin.GIVEN, {"optimizer": "epie"}),
    ],
    ids=["estimated", "nothing-scanned", "refined-in-the-run", "bright-field-only", "published-engine"],
)
def test_nothing_else_is_tried(monkeypatch, still, origin, settings):
    monkeypatch.setattr(FreedTrials, "fixed", lambda self, dataset: pytest.fail("tried"))
    tuned = Tuned(focused(still, MIDDLE_A, origin), Preset.from_mapping(SETTINGS | settings))
    assert in_its_own_plane(tuned, CPU) is tuned


def test_nor_of_few_patterns(monkeypatch, still):
    monkeypatch.setattr(FreedTrials, "fixed", lambda self, dataset: pytest.fail("tried"))
    few = focused(still.part(range(64)), MIDDLE_A)
    assert in_its_own_plane(Tuned(few, PRESET), CPU).dataset is few
