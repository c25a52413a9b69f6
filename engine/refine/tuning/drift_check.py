"""A drift that the lattice of the scan shows, judged by patterns held out.

The lattice is found from where pairs of discs overlap (:mod:`drift`), with an uncertainty that trusts a model of single
scattering and of one defocus. Where that is off, drift appears that is not there, and well beyond its uncertainty; and
of a drift that is there, the overlaps of a weak scan say little. A short refinement sees all of the patterns: an object
can follow positions that are stretched or sheared, but the probe with its detector has a scale and angles of its own,
which then fit no longer. It begins from an empty object: a live map was made on positions with the drift, and argues
for them.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import measure
from ptylive.engine.refine.problem.strategy import Regime
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext, central
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

POSSIBLE = 1.0
"""Standard deviations of the lattice from which on a drift is tried."""
BEYOND_DOUBT = 3.0
"""Standard deviations by which patterns held out must then gain, however certain the lattice is: those of drifts that
are there are 4 and more, whatever the seed, one that was not there came to 2.8 (docs/refinement.md)."""
SETTLING = 12
"""Sweeps of one slice: steps that become shorter leave less of their own scatter, which is larger than what a drift
does. Of two trials one would else win by having halved its steps."""
FROM_NOTHING = {
    **TRIAL_SETTINGS,
    "regime": str(Regime.THIN),
    "start_from_map": False,
    "sweeps": "auto",
    "epoch_max": "auto",
    "probe_modes": 1,
}
"""Whatever the run is asked for. One mode: what a source blurs it blurs with the drift and without."""
OF_ONE_SLICE = {"sweeps": SETTLING, "epoch_max": SETTLING}


def with_checked_drift(measured: Measurement, tuned: Tuned, context: TrialContext) -> Measurement:
    """The measurement of ``tuned`` with its drift taken out where lattice and trials agree on it, and only there.

    Only a drift that nobody asked for is tried, in scans of enough patterns.
    """
    drift, preset = measured.drift, tuned.preset
    if drift is None or not _is_open(drift, preset) or len(tuned.dataset.patterns) < LEAST_PATTERNS:
        return measured
    gain = _gain(tuned, replace(drift, applied=True), context)
    taken = gain.exceeds(BEYOND_DOUBT)
    found = drift.reason.rsplit(": ", 1)[0]
    if taken:
        reason = f"{found}: applied, by which patterns held out are predicted better by {gain}"
    else:
        reason = f"{found}: left alone, without it patterns held out are not predicted better (gain {gain})"
    decided = replace(drift, applied=taken, reason=reason)
    if taken == drift.applied:
        return replace(measured, drift=decided)
    dataset = without_drift(tuned.dataset, decided)
    return replace(measure(dataset, preset.model_copy(update={"refine_drift": False})), drift=decided)


def _is_open(drift: Drift, preset: Preset) -> bool:
    unasked = preset.start.refine_drift == "auto" and preset.refined.update_obj
    return unasked and drift.deviations > POSSIBLE


def _gain(tuned: Tuned, drift: Drift, context: TrialContext) -> Gain:
    """Of positions without the drift."""
    context = replace(context, start=None)
    settings = FROM_NOTHING | (OF_ONE_SLICE if tuned.preset.object.slices == 1 else {})
    quick = tuned.preset.model_copy(update=settings)

    chosen = central(tuned.dataset, TRIAL_PATTERNS)
    part = tuned.dataset.part(chosen)
    measured = measure(part, quick.model_copy(update={"refine_drift": False}))

    def losses(positions_A: DoubleArray) -> tuple[float, ...]:
        placed = replace(measured, dataset=replace(measured.dataset, positions_A=positions_A[chosen]))
        return Trial.of(part, quick, context, placed).likelihoods(context).everywhere

    context.before("the positions as they are")
    as_given = losses(tuned.dataset.positions_A)
    context.before("the positions without drift")
    return Gain.over(as_given, losses(without_drift(tuned.dataset, drift).positions_A))
