"""Whether networks can be trained with the settings of a preset; checked before anything is refined."""

from __future__ import annotations

from ptylive.engine.dgp import available
from ptylive.engine.refine.regularisers.projections import due
from ptylive.engine.refine.regularisers.registry import registered
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

LOOKED_EPOCHS = 40
"""Epochs of a schedule that are checked: anything switched on later starts after the pixels of most runs."""


def check_possible(preset: Preset) -> None:
    """Raise RefinementError if settings or installed packages do not permit a deep generative prior."""
    available.require()
    first = preset.at(0)
    if not first.refined.update_obj:
        raise RefinementError("method=dgp needs update_obj=true", "set method=pixels, or refine the object")
    if first.refined.update_probe_pos or first.refined.update_beam_current or first.instrument.opr_components:
        raise RefinementError(
            "method=dgp cannot refine quantities of single patterns (update_probe_pos, update_beam_current,"
            " opr_components)",
            "refine them in a separate stage before (docs/dgp.md)",
        )
    if "sequence" in preset.schedules:
        raise RefinementError("method=dgp cannot follow a schedule of sequence", "give one sequence for all epochs")
    switches = [name for entry in registered() if entry.kind == "projection" for name in entry.switches]
    names = [name for name in switches if first.regularisers.value(name) or name in preset.schedules]
    scheduled = range(LOOKED_EPOCHS) if preset.schedules else range(1)
    if names or any(due(preset.at(epoch).regularisers) for epoch in scheduled):
        listed = ", ".join(names) or "a filter of object or probe, or a reset"
        raise RefinementError(
            f"method=dgp cannot be combined with settings that change parameters once per epoch ({listed})",
            "use them in a separate stage before (docs/dgp.md)",
        )
