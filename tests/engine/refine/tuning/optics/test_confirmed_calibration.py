"""A calibration that nobody stated is confirmed by held-out patterns, or reported as undecidable."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.optics import confirmed_calibration
from ptylive.engine.refine.tuning.optics.confirmed_calibration import with_confirmed_calibration
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.advice.cannot_tell import cannot_tell_sentences
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
PRESET = Preset.from_mapping({"window_px": 32, "num_slices": 1})
HERE = 100.0
"""Loss of the calibration as it is."""


def blind(dataset: Dataset, **entries: Quantity) -> Dataset:
    found = {
        name: replace(dataset.calibration.entries[name], origin=Origin.ESTIMATED) for name in ("rotation_deg", "C10")
    }
    hand = {"detector_transform": Quantity("none", Origin.ESTIMATED)}
    return replace(dataset, calibration=dataset.calibration.having(**found | hand | entries))


@pytest.fixture(scope="module")
def still(drifted) -> Dataset:
    """Gaussian atoms under 60 Å of underfocus, at 80 kV and 25 mrad: 1.0 depths of focus."""
    return blind(drifted((0.0, 0.0), 4))


def judged_by(monkeypatch: pytest.MonkeyPatch, **losses: float) -> list[str]:
    """Replace trials by losses of sixteen groups scattering by 1, a standard error of 0.25; return those evaluated."""
    asked = []

    def loss(dataset: Dataset, _preset: Preset, _sweeps: int, context: TrialContext, **_: object) -> HeldOutLoss:
        calibration = dataset.calibration
        names = ["mirrored"] if calibration.transform == "transpose" else []
        names += ["turned"] if abs(calibration.rotation_deg - ROTATION) > 1 else []
        name = "_".join(names) or ("here" if calibration.get("C10") else "focused")
        asked.append(name)
        more = 0.0 if name == "here" else losses.get(name, 10.0)
        scatter = np.tile([1.0, -1.0], 8) * np.sqrt(15 / 16) * (name != "here")
        return HeldOutLoss(tuple(HERE + more + scatter))

    monkeypatch.setattr(confirmed_calibration, "held_out_loss", loss)
    return asked


ROTATION = 25.0


def rephrased(dataset: Dataset, preset: Preset = PRESET, **fields: object) -> tuple[tuple[str, ...], Dataset]:
    tuned = with_confirmed_calibration(Tuned(dataset, preset, **fields), CPU)
    return cannot_tell_sentences("; ".join(tuned.words)), tuned.dataset


def test_what_is_far_better_than_the_turned_scan_is_not_asked_further(still, monkeypatch):
    """It is better by 6 standard errors of 0.25."""
    asked = judged_by(monkeypatch, turned=1.6)
    assert rephrased(still)[0] == ()
    assert asked == ["turned", "here"] or asked == ["here", "turned"]


@pytest.mark.parametrize(
    ("rival", "words"),
    [
        ("turned", "the scan turned by 90° predicts"),
        ("mirrored", "the detector transposed predicts"),
        ("mirrored_turned", "the detector transposed and turned by 90° predicts"),
    ],
)
def test_each_rival_has_to_be_worse_by_two_deviations(still, monkeypatch, rival, words):
    others = {"turned": 1.0, "mirrored": 1.0, "mirrored_turned": 1.0}
    judged_by(monkeypatch, **others | {rival: 0.55})
    assert rephrased(still)[0] == ()
    judged_by(monkeypatch, **others | {rival: 0.45})
    said, dataset = rephrased(still)
    assert len(said) == 1
    assert words in said[0]
    assert "(gain -0.45 ± 0.2 %)" in said[0]
    assert {dataset.calibration.origin(name) for name in ("rotation_deg", "C10")} == {Origin.UNDECIDED}
    assert dataset.calibration.get("C10") == still.calibration.get("C10")


def test_in_focus_has_to_be_no_better(still, monkeypatch):
    judged_by(monkeypatch, turned=1.0, focused=-0.45)
    assert rephrased(still)[0] == ()
    judged_by(monkeypatch, turned=1.0, focused=-0.55)
    assert "a probe in focus predicts held-out patterns better" in rephrased(still)[0][0]


def test_one_slice_stands_in_the_middle_of_several(still, monkeypatch):
    """Half of the defocus of the entrance is half a depth of focus or less, so nothing is compared in focus."""
    judged_by(monkeypatch, turned=1.0, focused=-0.55)
    judged, seen_A = confirmed_calibration.held_out_loss, []

    def loss(dataset, *rest, **more):
        seen_A.append(dataset.calibration.get("C10"))
        return judged(dataset, *rest, **more)

    monkeypatch.setattr(confirmed_calibration, "held_out_loss", loss)
    entrance_A = still.calibration.get("C10")
    thick = PRESET.model_copy(update={"num_slices": 3, "total_thickness_A": abs(entrance_A)})
    assert rephrased(still, thick)[0] == ()
    assert set(seen_A) == {entrance_A / 2}
    assert still.calibration.get("C10") == entrance_A
    seen_A.clear()
    rephrased(blind(still, C10=Quantity(entrance_A, Origin.GIVEN)), thick)
    assert set(seen_A) == {entrance_A}, "what was stated is kept"


def test_a_defocus_that_nothing_showed_is_said(still, monkeypatch):
    asked = judged_by(monkeypatch)
    said, _ = rephrased(blind(still, C10=Quantity(0.0, Origin.DEFAULT)))
    assert said == (
        "calibration: cannot tell the defocus: no value explains the bright field better than chance, and 0 is assumed "
        "(give defocus_A)",
    )
    assert asked == []


def test_a_half_turn_that_nothing_settled_is_said(still, monkeypatch):
    judged_by(monkeypatch)
    open_ = blind(still, rotation_deg=Quantity(ROTATION, Origin.UNDECIDED, 1.0))
    assert "cannot tell the half turn of the scan" in rephrased(open_, skewed_by=1.5)[0][0]
    assert "skewed by 1.5 standard deviations" in rephrased(open_, skewed_by=1.5)[0][0]
    assert rephrased(open_, half_turn_settled=True)[0] == ()
    thick = PRESET.model_copy(update={"num_slices": 3, "total_thickness_A": 90.0})
    assert "does not show it, nor does depth" in rephrased(open_, thick)[0][0]
    assert rephrased(open_, thick, half_turn_settled=True)[0] == ()
    assert rephrased(still)[0] == ()


def test_what_was_stated_is_not_asked(still, monkeypatch):
    asked = judged_by(monkeypatch, turned=0.0)
    given = {name: Quantity(still.calibration.get(name), Origin.GIVEN) for name in ("rotation_deg", "C10")}
    assert rephrased(blind(still, **given))[0] == ()
    assert rephrased(still, PRESET.model_copy(update={"start_probe": "probe.h5"}))[0] == ()
    assert rephrased(still.part(np.arange(255)))[0] == ()
    assert asked == []
    hand = Quantity("none", Origin.GIVEN)
    judged_by(monkeypatch, turned=1.0, mirrored=0.0, mirrored_turned=0.0)
    assert rephrased(still)[0] != ()
    assert rephrased(blind(still, detector_transform=hand))[0] == ()
    assert rephrased(blind(still, rotation_deg=given["rotation_deg"], detector_transform=hand))[0] == ()


@pytest.mark.slow
def test_trials_tell_a_right_calibration_from_a_wrong_one(still):
    """The decision is made from the patterns themselves."""
    assert rephrased(still)[0] == ()
    said, _ = rephrased(Orientation(transposed=False, turn_deg=70.0).of(still))
    assert len(said) == 1
