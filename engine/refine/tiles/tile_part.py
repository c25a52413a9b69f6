"""Input of one worker: patterns, object and probe of its tile, and how to refine them, in serialisable form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem, Precision
from ptylive.engine.memory import check_fits
from ptylive.engine.refine.parameters.parameter_vector import (
    Block,
    BlockName,
    ObjectForm,
    ParameterLayout,
)
from ptylive.engine.refine.parameters.probe_model import ProbeForm, ProbeModel
from ptylive.engine.refine.parameters.terms import Damping, PositionPrior
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.run.course import CoursePlan
from ptylive.engine.refine.tiles.cutting import Rows, Segment, Tile, cut
from ptylive.engine.refine.tiles.model_parts import model_of, model_parts
from ptylive.engine.refine.tiles.packing import packed, unpacked
from ptylive.engine.refine.tiles.tile_vector import layout_of, part_of_vector, rows_of
from ptylive.schema.model import Array, FloatArray, IndexArray
from ptylive.schema.preset.refined import RefinedSettings
from ptylive.schema.preset.solver import SolverSettings


@dataclass(frozen=True)
class TilePart:
    """A tile with everything that its worker needs."""

    tile: Tile
    count: int
    """Number of patterns of all tiles."""
    layout: ParameterLayout
    """Layout of the rows held."""
    multislice: MultisliceProblem
    """Problem for the local patterns, on the rows held."""
    start: Array
    """Start parameters for the rows held and the probe."""
    plan: CoursePlan
    curvature_scale: float
    move_object: bool
    move_probe: bool
    damping: FloatArray | None = None
    """Curvature of a weakly damped object (``Damping``), for the rows held."""
    prior: PositionPrior | None = None
    """Prior on the positions of the local patterns."""
    held: tuple[IndexArray, ...] = ()
    """Groups of held-out patterns, by their numbers among all."""
    scan_rows: IndexArray | None = None
    """(N,) first rows of the windows of all patterns, in the whole object; they determine the batches."""

    def to_bytes(self) -> bytes:
        """See :meth:`of_bytes`."""
        layout, slices = self.layout, self.multislice
        model, of_model = model_parts(slices.model)
        plain = {
            "model": model,
            "tile": {name: value for name, value in asdict(self.tile).items() if name != "patterns"},
            "count": self.count,
            "layout": [layout.object_form, layout.non_negative, layout.object_shape, layout.object_modes],
            "precision": layout.precision,
            "probe": layout.probe.form,
            "term": [slices.data_term.kind, slices.data_term.offset],
            "plan": {**vars(self.plan), "settings": self.plan.settings.model_dump(mode="json")},
            "numbers": [self.curvature_scale, self.move_object, self.move_probe],
            "held": [len(group) for group in self.held],
            "blocks": [[block.name, block.lowest] for block in layout.blocks],
            "prior": None if self.prior is None else self.prior.curvature,
        }
        arrays = {
            "numbers_of_patterns": self.tile.patterns,
            "probe_start": layout.probe.start,
            "patterns": slices.patterns,
            "weights": slices.weights,
            "corners": slices.corners,
            "shifts_px": slices.shifts_px,
            "propagators": slices.propagators,
            "start": self.start,
            "held": np.concatenate(self.held) if self.held else np.zeros(0, np.int64),
        }
        optional = {
            "offsets_px": slices.offsets_px,
            "current": slices.current,
            "phase_per_A": slices.phase_per_A,
            "damping": self.damping,
            "nominal": None if self.prior is None else self.prior.nominal,
            "scan_rows": self.scan_rows,
            "probe_rates": layout.probe.phase_per_A,
        }
        for number, block in enumerate(layout.blocks):
            optional |= {f"block_{number}": block.start, f"block_{number}_curvature": block.curvature}
        arrays |= of_model | {name: value for name, value in optional.items() if value is not None}
        return packed(plain, {name: np.asarray(value) for name, value in arrays.items()})

    @classmethod
    def of_bytes(cls, data: bytes) -> TilePart:
        """Inverse of :meth:`to_bytes`. Raises RefinementError for damaged data, or if memory does not suffice."""
        check_fits(2.0 * len(data), "a tile of the refinement", "use more workers")
        plain, arrays = unpacked(data)
        form, non_negative, shape, modes = plain["layout"]
        precision = Precision(plain["precision"])
        probe = ProbeModel(ProbeForm(plain["probe"]), arrays["probe_start"], arrays.get("probe_rates"))
        blocks = tuple(
            Block(BlockName(name), arrays[f"block_{number}"], arrays[f"block_{number}_curvature"], lowest)
            for number, (name, lowest) in enumerate(plain["blocks"])
        )
        layout = ParameterLayout(
            ObjectForm(form), non_negative, tuple(shape), modes, probe, blocks, precision=precision
        )
        kind, offset = plain["term"]
        multislice = MultisliceProblem(
            patterns=arrays["patterns"],
            weights=arrays["weights"],
            corners=arrays["corners"],
            shifts_px=arrays["shifts_px"],
            object_shape=layout.object_shape,
            propagators=arrays["propagators"],
            data_term=DataTerm(DataTermKind(kind), offset),
            phase_per_A=arrays.get("phase_per_A"),
            offsets_px=arrays.get("offsets_px"),
            current=arrays.get("current"),
            model=model_of(plain["model"], arrays),
            precision=precision,
        )
        settings = SolverSettings.model_validate(plain["plan"].pop("settings"))
        scale, move_object, move_probe = plain["numbers"]
        return cls(
            tile=_tile(plain["tile"], arrays["numbers_of_patterns"]),
            count=plain["count"],
            layout=layout,
            multislice=multislice,
            start=arrays["start"],
            plan=CoursePlan(settings, **plain["plan"]),
            curvature_scale=scale,
            move_object=move_object,
            move_probe=move_probe,
            damping=arrays.get("damping"),
            prior=None if plain["prior"] is None else PositionPrior(arrays["nominal"], plain["prior"]),
            held=tuple(np.split(arrays["held"], np.cumsum(plain["held"])[:-1])) if plain["held"] else (),
            scan_rows=arrays.get("scan_rows"),
        )


def _tile(plain: dict[str, Any], patterns: IndexArray) -> Tile:
    """Create from JSON values."""
    return Tile(
        number=plain["number"],
        tiles=plain["tiles"],
        patterns=patterns,
        rows=_rows(plain["rows"]),
        lit=_rows(plain["lit"]),
        own=_rows(plain["own"]),
        given=tuple((neighbour, _rows(rows)) for neighbour, rows in plain["given"]),
        taken=tuple((neighbour, _rows(rows)) for neighbour, rows in plain["taken"]),
        segments=tuple(Segment(_rows(segment["rows"]), tuple(segment["tiles"])) for segment in plain["segments"]),
    )


def _rows(plain: list[int]) -> Rows:
    return int(plain[0]), int(plain[1])


def tiles_of(problem: Problem, tiles: int) -> tuple[Tile, ...]:
    """The cut of a problem. Raises RefinementError if it has fewer patterns than tiles."""
    layout = problem.layout
    return cut(problem.multislice.corners[:, 0], layout.window, layout.object_shape[1], tiles)


def part_of(
    problem: Problem, tile: Tile, plan: CoursePlan, refined: RefinedSettings, held: tuple[IndexArray, ...]
) -> TilePart:
    """A tile's share of a problem."""
    layout, multislice = problem.layout, problem.multislice
    tile_layout = layout_of(layout, tile)
    part = multislice.part(tile.patterns)
    damping = next((term for term in problem.terms if isinstance(term, Damping)), None)
    prior = next((term for term in problem.terms if isinstance(term, PositionPrior)), None)
    return TilePart(
        tile=tile,
        count=multislice.count,
        layout=tile_layout,
        multislice=replace(
            part, object_shape=tile_layout.object_shape, corners=part.corners - np.array([tile.rows[0], 0])
        ),
        start=part_of_vector(layout, problem.start, tile),
        plan=plan,
        curvature_scale=problem.strategy.curvature_scale,
        move_object=refined.update_obj,
        move_probe=refined.update_probe,
        damping=None if damping is None else np.asarray(rows_of(damping.curvature, layout, tile.rows), np.float32),
        prior=None if prior is None else replace(prior, nominal=prior.nominal[tile.patterns]),
        held=held,
        scan_rows=multislice.corners[:, 0].astype(np.int32),
    )
