"""Held-out patterns choose between orientations that the maps could not exclude."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_datasets import dataset_of, simulated

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.depth import rival_orientations as module
from ptylive.engine.refine.tuning.depth.rival_orientations import with_likelier_rival
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.calibration import RIVALS
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
FOUND = {
    "rotation_deg": Quantity(10.0, Origin.ESTIMATED, 1.0),
    "detector_transform": Quantity("none", Origin.UNDECIDED),
    "C10": Quantity(-60.0, Origin.ESTIMATED, 5.0),
    "C12a": Quantity(7.0, Origin.ESTIMATED, 5.0),
    "C12b": Quantity(3.0, Origin.GIVEN),
    RIVALS: Quantity((1.0, 40.0, -80.0, 0.0, 100.0, 30.0), Origin.ESTIMATED),
}


@pytest.fixture(scope="module")
def plain() -> Dataset:
    """256 patterns without any content, of which the maps could not exclude two other orientations."""
    row, column = np.divmod(np.arange(256), 16)
    scan = simulated(scan_shape=(16, 16), detector_shape=(16, 16), specimen="circles")
    dataset = dataset_of(scan, np.zeros((256, 16, 16), np.uint8))
    positions_A = 0.6 * np.stack([row, column], 1).astype(float)
    return replace(dataset, positions_A=positions_A, calibration=dataset.calibration.having(**FOUND))


class Trials:
    """Stands for trials: losses of adjacent slices and the lowest ones, by handedness and angle."""

    losses: dict
    asked: list

    def __init__(self, part, preset, context, depth_A):
        calibration = part.calibration
        self.asked.append((calibration.transform, round(calibration.rotation_deg, 1), calibration.get("C10")))
        nearest = min(self.losses, key=lambda key: (key[0] != calibration.transform, self._away(part, key)))
        self._loss, self._slope = self.losses[nearest], 0.01 * self._away(part, nearest) ** 2

    @staticmethod
    def _away(part, key):
        return abs((part.calibration.rotation_deg - key[1] + 180) % 360 - 180)

    def _of(self, loss):
        scatter = np.random.default_rng(round(100 * loss)).normal(size=16)
        return HeldOutLoss(tuple(loss + self._slope + 0.5 * (scatter - scatter.mean()) + 0.3 * np.arange(16)))

    def adjacent(self):
        return self._of(self._loss[0])

    def lowest(self):
        return self._of(self._loss[1])


PRESENT, MIRRORED, TURNED = ("none", 10.0), ("transpose", 40.0), ("none", 100.0)


def judged(monkeypatch, dataset, losses, preset=Preset()):  # noqa: B008  (frozen)
    monkeypatch.setattr(Trials, "losses", losses, raising=False)
    monkeypatch.setattr(Trials, "asked", [], raising=False)
    monkeypatch.setattr(module, "AnyDepth", Trials)
    return with_likelier_rival(Tuned(dataset, preset), CPU)


def test_the_likelier_one_is_used_with_its_defocus(plain, monkeypatch):
    tuned = judged(monkeypatch, plain, {PRESENT: (100, 95), ("transpose", 41.0): (90, 80), TURNED: (101, 96)})
    calibration = tuned.dataset.calibration
    assert tuned.orientation.transposed
    assert calibration.transform == "transpose"
    assert calibration.rotation_deg == pytest.approx(41.0, abs=0.1)  # a parabola around the angle of the maps
    assert calibration.entries["rotation_deg"].uncertainty == 0.75
    assert not calibration.rivals
    assert calibration.origin("detector_transform") is Origin.ESTIMATED
    assert (calibration.get("C10"), calibration.get("C12a"), calibration.get("C12b")) == (-80.0, 0.0, 3.0)
    expected = plain.positions_A @ np.array([[np.cos(t := np.deg2rad(31.0)), np.sin(t)], [-np.sin(t), np.cos(t)]])
    assert np.allclose(tuned.dataset.positions_A, expected, atol=0.05)
    assert "one of 2 that the maps could not exclude" in tuned.words[-1]
    assert ("transpose", 40.0, -80.0) in Trials.asked
    assert ("none", 100.0, 30.0) in Trials.asked


@pytest.mark.parametrize(
    ("losses", "word"),
    [
        ({PRESENT: (100, 95), MIRRORED: (99.8, 94.8), TURNED: (110, 105)}, "predict held-out patterns better (0."),
        ({PRESENT: (100, 95), MIRRORED: (110, 80), TURNED: (120, 80)}, "would not predict held-out patterns better"),
        ({PRESENT: (100, 95), MIRRORED: (90, 80.0), TURNED: (90, 80.05)}, "do not decide between others"),
    ],
    ids=["no better", "hopeless without depth", "two alike"],
)
def test_the_orientation_stays_unless_one_is_clearly_better(plain, monkeypatch, losses, word):
    tuned = judged(monkeypatch, plain, losses)
    assert tuned.dataset is plain
    assert tuned.orientation is None
    assert word in tuned.words[-1]


def test_depth_may_show_what_adjacent_slices_do_not(plain, monkeypatch):
    tuned = judged(monkeypatch, plain, {PRESENT: (100, 95), MIRRORED: (100.2, 80), TURNED: (100.4, 94)})
    assert tuned.dataset.calibration.transform == "transpose"


def test_nothing_is_tried_without_rivals_or_where_the_rotation_is_stated(plain, monkeypatch):
    alone = replace(plain, calibration=plain.calibration.without_rivals())
    stated = replace(plain, calibration=plain.calibration.having(rotation_deg=Quantity(10.0, Origin.GIVEN)))
    for dataset, preset in ((alone, Preset()), (stated, Preset()), (plain, Preset(start_object="earlier.h5"))):
        assert judged(monkeypatch, dataset, {PRESENT: (100, 95)}, preset).dataset is dataset
        assert not Trials.asked


def test_a_given_defocus_is_kept(plain, monkeypatch):
    given = replace(plain, calibration=plain.calibration.having(C10=Quantity(-60.0, Origin.GIVEN)))
    tuned = judged(monkeypatch, given, {PRESENT: (100, 95), MIRRORED: (90, 80), TURNED: (101, 96)})
    assert tuned.dataset.calibration.transform == "transpose"
    assert tuned.dataset.calibration.get("C10") == -60.0
