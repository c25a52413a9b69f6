"""Refined objects that show a drift of one's choice, for tests of what follows a run."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import Drift, taken_A, without_drift
from ptylive.engine.refine.problem import measurement
from ptylive.engine.refine.run.again.drift_search import LEFT as SHARE
from ptylive.engine.refine.run.again.strained_scan import Slopes, StrainedScan
from ptylive.engine.refine.run.before import decisions
from ptylive.schema.preset import Preset

SETTINGS = {"window_px": 32, "probe_modes": 1, "num_slices": 1, "sweeps": 2, "regime": "thin", "phase_deviation": False}
PRESET = Preset.from_mapping(SETTINGS)
THICK = {"num_slices": 2, "total_thickness_A": 20.0}
UNLIKELY = Drift((0.3, 0.1), (0.5, 0.5), 60.0, 0.0, False, "drift (a, b) Å: not significant, not corrected", 0.6)
LEFT = replace(UNLIKELY, reason="drift (a, b) Å: not corrected, trials do not show it", deviations=1.5)
REMOVED = replace(LEFT, applied=True, reason="drift (a, b) Å: corrected, trials show it")
TRUE_A = (0.6, -0.4)
STIFFNESS = 1000.0


@pytest.fixture
def shows(monkeypatch):
    """Let refined objects show a drift (slow, fast), Å, and a rotation (displacement of the slow axis' end, Å).

    ``drift``: of the lattice, which trials left alone or removed. ``share``: of the curvature with the object's values
    held that is left when they follow. ``fall``: slope for 1 Å; its standard deviation is 1.
    """

    def by(true_A, drift=LEFT, *, turn_A=0.0, share=SHARE, fall=STIFFNESS, even=0.0):
        def checked(measured, tuned, context, **how):
            dataset = tuned.dataset if drift is None else without_drift(tuned.dataset, drift)
            return tuned, replace(measured, dataset=dataset, drift=drift)

        def slopes(self, directions):
            self._context.pause()  # as happens between the losses of two strains
            optics = sum(direction.is_optics for direction in directions)
            dataset, removed = self._problem.measured.dataset, taken_A(self._problem.measured.drift)
            left, strains = np.subtract(true_A, removed), len(directions) - optics
            if strains != 2:
                turned = dataset.calibration.get("rotation_deg") - asked["rotation_deg"]
                turned_A = np.radians(turned) * asked["length_A"] + 0.5 * removed[1]
                left = np.append(left, turn_A + 0.5 * true_A[1] - turned_A)[-strains:]
            return Slopes(np.append(fall * left, np.zeros(optics)), np.eye(len(directions)), optics=optics)

        asked = {}
        monkeypatch.setattr(measurement, "find_drift", lambda *_, **__: None)  # the lattice's is given here
        monkeypatch.setattr(decisions, "with_checked_drift", checked)
        monkeypatch.setattr(StrainedScan, "slopes", slopes)
        monkeypatch.setattr(StrainedScan, "curvatures", lambda self, directions: np.full(len(directions), fall / share))
        monkeypatch.setattr(StrainedScan, "with_even", lambda self, slopes, _: replace(slopes, even=even))
        return asked

    return by


def refined(moving, preset=PRESET, **options):
    return refine(moving.dataset, preset, backend="cpu", **options)
