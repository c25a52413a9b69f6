"""Astigmatism that the maps doubted stays if held-out patterns prefer it, and is removed otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.depth import depth_trials
from ptylive.engine.refine.tuning.depth.doubted_astigmatism import with_confirmed_astigmatism
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
PRESET = Preset.from_mapping({"window_px": 32, "probe_modes": 1, "regime": "thin", "source_size_A": 0.0})
SIZE_A = 30.0


def found(dataset, *, uncertainty=SIZE_A, origin=Origin.ESTIMATED):
    """A data set whose maps found 30 Å of astigmatism."""
    entries = {name: Quantity(value, origin, uncertainty) for name, value in {"C12a": SIZE_A, "C12b": 0.0}.items()}
    return replace(dataset, calibration=dataset.calibration.having(**entries))


def sizes(tuned):
    optics = tuned.dataset.calibration.aberrations
    return optics.get("C12a"), optics.get("C12b")


@pytest.mark.slow
def test_what_is_not_there_goes(drifted):
    tuned = with_confirmed_astigmatism(Tuned(found(drifted((0.0, 0.0), 3)), PRESET), CPU)
    assert sizes(tuned) == (0.0, 0.0)
    assert tuned.words[-1].startswith("no astigmatism: 30 Å, which the maps left in doubt, would not predict")


class Trials:
    """Stands for trials: losses by thickness in depths of focus, for the scan as it is and for the other half turn."""

    losses: dict
    deep = 1.0
    """Depth that shows, in depths of focus."""

    def __init__(self, part, preset, context, depth_A, under=""):
        assert preset.probe.probe_modes == 1
        assert context.start is None
        half = "turned" if under else "as it is"
        self._own = self.losses[half, part.calibration.aberrations["C12a"] != 0]

    def loss(self, depths, slices):
        assert slices == depth_trials.COARSE_SLICES
        share = self._own[0] if depths == depth_trials.NOTHING else self._own[1] if depths == self.deep else 1.1
        return HeldOutLoss(tuple(200.0 * share * (1 + 0.02 * k + 0.002 * np.sin(7 * k * share)) for k in range(16)))


BOTH_OPEN = {"C10": 60.0, "rotation_deg": 20.0}


@pytest.mark.parametrize("deep", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(
    ("with_it", "without", "stays"),
    [
        ({"as it is": (0.9, 1.0), "turned": (0.9, 1.0)}, {"as it is": (1.0, 1.0), "turned": (1.0, 1.0)}, True),
        ({"as it is": (1.0, 0.9), "turned": (1.0, 1.0)}, {"as it is": (1.0, 1.0), "turned": (1.0, 1.0)}, True),
        ({"as it is": (0.95, 1.0), "turned": (0.95, 1.0)}, {"as it is": (1.0, 0.9), "turned": (1.0, 1.0)}, False),
        ({"as it is": (0.95, 1.0), "turned": (0.95, 1.0)}, {"as it is": (1.0, 1.0), "turned": (1.0, 0.9)}, False),
        ({"as it is": (1.0, 1.0), "turned": (1.0, 1.0)}, {"as it is": (1.0, 1.0), "turned": (1.0, 1.0)}, False),
    ],
    ids=["better", "better with depth", "worse with depth", "worse with depth, turned", "as good"],
)
def test_the_better_one_stays_once_depth_is_allowed_for(monkeypatch, drifted, with_it, without, stays, deep):
    monkeypatch.setattr(Trials, "deep", deep)
    losses = {(half, True): pair for half, pair in with_it.items()}
    monkeypatch.setattr(
        Trials, "losses", losses | {(half, False): pair for half, pair in without.items()}, raising=False
    )
    monkeypatch.setattr(depth_trials, "DepthTrials", Trials)
    dataset = found(drifted((0.0, 0.0), 3))
    entries = {name: Quantity(value, Origin.ESTIMATED) for name, value in BOTH_OPEN.items()}
    dataset = replace(dataset, calibration=dataset.calibration.having(**entries))
    tuned = with_confirmed_astigmatism(Tuned(dataset, PRESET), CPU)
    assert sizes(tuned) == ((SIZE_A, 0.0) if stays else (0.0, 0.0))


@pytest.mark.parametrize(
    "stated", [{"uncertainty": 0.9 * SIZE_A}, {"uncertainty": None}, {"origin": Origin.GIVEN}], ids=str
)
def test_what_is_sure_or_given_is_not_tried(monkeypatch, drifted, stated):
    monkeypatch.setattr(depth_trials, "DepthTrials", None)
    tuned = Tuned(found(drifted((0.0, 0.0), 3), **stated), PRESET)
    assert with_confirmed_astigmatism(tuned, CPU) is tuned
