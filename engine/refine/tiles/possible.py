"""Check whether a refinement can be cut into tiles: before anything is done, and again for the laid-out problem."""

from __future__ import annotations

from ptylive.engine.backend.multislice.problem import DataTermKind
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.parameters.terms import Damping, PositionPrior
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.regularisers.projections import due
from ptylive.engine.refine.regularisers.registry import switched_on
from ptylive.engine.refine.tiles.model_parts import beyond_tiles
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.propagation import InstrumentSettings

REMEDY = "leave it out, or refine on one worker"
SHARED = frozenset(
    {
        "update_obj",
        "update_probe",
        "update_probe_pos",
        "update_beam_current",
        "update_static_background",
        "update_slice_distances",
        "update_thickness",
        "update_aberrations",
        "update_tilts",
        "update_detector_psf",
    }
)
"""Settings of what is refined that tiles support."""
BLOCKS = frozenset(
    {
        BlockName.SHIFTS,
        BlockName.CURRENT,
        BlockName.BACKGROUND,
        BlockName.DISTANCES,
        BlockName.THICKNESS,
        BlockName.ABERRATIONS,
        BlockName.TILTS,
        BlockName.SPREAD,
    }
)
"""The same as blocks of a layout."""
BEYOND = (
    "update_extra_cut",
    "probe_marker",
    "phase_plate_in_h5",
    *(name for name in InstrumentSettings.model_fields if name not in ("detector_psf", "detector_psf_px")),
    "scan_tilts_mrad",
)
"""Settings of a model that are only supported for whole scans."""


def check_possible(preset: Preset) -> None:
    """Raise RefinementError, naming the setting, if tiles do not support a preset."""
    if preset.stages:
        raise _refused("[[stage]]")
    if preset.prior.method == "dgp":
        raise _refused("method=dgp")
    if preset.schedules:
        raise _refused(f"a schedule of {', '.join(sorted(preset.schedules))}")
    current = preset.at(0)
    if current.solver.optimizer != "scaled":
        raise _refused(f"optimizer={current.solver.optimizer}")
    names = sorted((current.refined.moving - SHARED) | switched_on(current.regularisers))
    for group in (current.propagation, current.instrument, current.probe, current.patterns, current.scans):
        fields = type(group).model_fields
        names += [name for name in BEYOND if name in fields and getattr(group, name) != fields[name].default]
    if names:
        raise _refused(", ".join(names))
    if due(current.regularisers) or current.regularisers.reset_history_flag:
        raise _refused("a filter of object or probe, or a reset")


def check_problem(problem: Problem) -> None:
    """Raise RefinementError if tiles do not support the laid-out problem."""
    layout, model = problem.layout, problem.multislice.model
    if problem.measured.coefficients is not None:
        raise _refused("a recording of coefficients")
    if model is not None and (features := beyond_tiles(model)):
        raise _refused(features)
    unsupported = [str(block.name) for block in layout.blocks if block.name not in BLOCKS]
    if unsupported:
        raise _refused(", ".join(unsupported))
    if layout.cleaning is not None:
        raise _refused("damping_cutoff_multislice unless lazy_clean is on")
    if layout.mixture is not None:
        raise _refused("source_blur_A")
    if not isinstance(problem.multislice.data_term.kind, DataTermKind):
        raise _refused(f"algorithm={problem.multislice.data_term.kind}")
    for term in problem.terms:
        if not isinstance(term, Damping | PositionPrior):
            raise _refused(type(term).__name__)


def _refused(feature: str) -> RefinementError:
    return RefinementError(f"several workers cannot share a refinement with {feature}", REMEDY)
