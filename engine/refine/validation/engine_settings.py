"""Settings that the named engines do not support; checked before anything is refined."""

from __future__ import annotations

from ptylive.engine.refine.regularisers.registry import registered
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

MOVES = {
    "epie": frozenset({"update_obj", "update_probe"}),
    "lsq_ml": frozenset({"update_obj", "update_probe"}),
    "adam": frozenset({"update_obj", "update_probe", "update_probe_pos"}),
}
"""Quantities that each engine refines."""
REMEDY = "leave it out, or refine it in a separate stage with optimizer=scaled"


def check_engine(preset: Preset) -> None:
    """Raise RefinementError, naming the setting, if the engine that a preset names does not support it."""
    name = preset.solver.optimizer
    if name not in ENGINES:
        return
    moving = {field for field in type(preset.refined).model_fields if field in preset.schedules} | preset.refined.moving
    beyond = sorted(moving - MOVES[name] - {"refined_aberrations"})
    if beyond:
        does = " and ".join(sorted(field.removeprefix("update_") for field in MOVES[name]))
        raise RefinementError(f"optimizer={name} moves {does}, not {', '.join(beyond)}", REMEDY)
    for setting, requested in _unknown_to(name, preset).items():
        if requested:
            raise RefinementError(f"optimizer={name} is not defined with {setting}", REMEDY)


def _unknown_to(name: str, preset: Preset) -> dict[str, bool]:
    """Settings that an engine does not support, and whether each is requested."""
    unknown = {
        "early_stop": preset.solver.early_stop,
        "precision=double": preset.solver.precision == "double",
        "opr_components": preset.instrument.opr_components > 0,
        "field_order": preset.instrument.field_order > 0,
        "update_scans": preset.scans.scan_tilts_mrad is not None and bool(preset.scans.update_scans),
    }
    if name == "adam":
        return unknown
    unknown |= {
        f"probe_part={preset.probe.probe_part}": preset.probe.probe_part != "both"
        and "probe_part" not in preset.schedules,
        "probe_marker": preset.probe.probe_marker is not None,
    }
    if name == "epie":
        return unknown
    penalties = [setting for entry in registered() if entry.kind == "penalty" for setting in entry.switches]
    return unknown | {
        f"algorithm={preset.loss.algorithm}": preset.loss.algorithm not in ("auto", "lsq_sqrt"),
        "loss_offset": preset.loss.loss_offset not in ("auto", 0),
        "obj_modes": preset.object.obj_modes > 1,
        "weakly_damped_obj": preset.object.weakly_damped_obj,
        **{setting: bool(preset.regularisers.value(setting)) or setting in preset.schedules for setting in penalties},
    }
