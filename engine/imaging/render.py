"""From the store to pictures: one function per method, the same for live and offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ptylive.engine.backend.imaging.bank import Contraction
from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.imaging.bank import Spectra
from ptylive.engine.imaging.filters import BUILDERS, Filter
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps.com import along_scan_axes, center_of_mass
from ptylive.engine.imaging.maps.dpc_iterative import iterative_dpc
from ptylive.engine.imaging.maps.idpc import integrated_dpc
from ptylive.engine.imaging.maps.virtual import DETECTORS, virtual_image
from ptylive.engine.imaging.placement import Placement
from ptylive.engine.imaging.rows import RowTransforms
from ptylive.engine.imaging.store import Store
from ptylive.schema import Calibration, LiveMap, MetadataError
from ptylive.schema.model import Array, DoubleArray

METHODS = (*DETECTORS, "com", "idpc", "dpc_iterative", *BUILDERS)
"""Every method of the live engine."""
AFTERWARDS = ("dpc_iterative", "ssb")
"""Methods made when the scan has ended, not while it runs: others show the same sooner."""


OUTPUTS: Mapping[str, tuple[str, ...]] = {"com": ("com_row", "com_col"), "wdd": ("wdd_phase", "wdd_amplitude")}
"""Maps of the methods that make several; the others make one of their own name."""


@dataclass
class Rendering:
    """Maps made at one moment, and why others were not."""

    maps: list[LiveMap] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def check_methods(names: Iterable[str]) -> tuple[str, ...]:
    """The methods asked for, by their names or those of their maps, in the engine's order. Raises MetadataError."""
    maker = {name: method for method in METHODS for name in (method, *OUTPUTS.get(method, ()))}
    wanted = [name.strip() for name in names]
    for name in wanted:
        if name not in maker:
            raise MetadataError(f"unknown method {name!r}", f"choose from {', '.join(maker)}")
    chosen = {maker[name] for name in wanted}
    return tuple(name for name in METHODS if name in chosen)


def methods_for(maps: Iterable[str]) -> frozenset[str]:
    """Methods that make these maps; names of methods pass, names that are no map of the engine are ignored."""
    names = frozenset(maps)
    return frozenset(m for m in METHODS if m in names or not names.isdisjoint(OUTPUTS.get(m, ())))


def render(
    store: Store,
    calibration: Calibration,
    filters: Mapping[str, Filter],
    methods: Iterable[str],
    rows: RowTransforms | None = None,
    placement: Placement | None = None,
    contraction: Contraction | None = None,
) -> Rendering:
    """Every map of ``methods`` that the store, the calibration and the filters allow.

    ``rows``: kept between calls; ``placement``: of points that are no regular grid; ``contraction``: of the filters.
    """
    out = Rendering()
    if not store.visited.any():
        return out
    wanted = check_methods(methods)
    picture = _Picture(store, calibration, rows or RowTransforms(), placement, contraction)
    out.maps.extend(picture.virtual(wanted))
    for name, make in (("com", picture.com), ("idpc", picture.idpc), ("dpc_iterative", picture.dpc_iterative)):
        if name not in wanted:
            continue
        try:
            out.maps.extend(make())
        except MetadataError as error:
            out.missing[name] = str(error)
    for name in BUILDERS:
        if name in wanted and name in filters:
            out.maps.extend(picture.filtered(filters[name]))
    return out


class _Picture:
    """One moment of a scan, with what several maps share computed once."""

    def __init__(
        self,
        store: Store,
        calibration: Calibration,
        rows: RowTransforms,
        placement: Placement | None,
        contraction: Contraction | None,
    ) -> None:
        self.store, self.calibration, self.rows = store, calibration, rows
        self.placement, self.contraction = placement, contraction
        self.regions, self.moments = store.per_frame(store.regions), store.per_frame(store.moments)
        self.visited, self.sampling = store.visited, store.arm.scan.step_A
        self.rotation_deg = calibration.rotation_deg
        self.where: dict[str, Any] = {}
        if placement is not None:
            values = np.concatenate([self.regions, self.moments], axis=1)
            values, self.visited = placement.gridded(values, store.visited.ravel())
            self.regions, self.moments = np.split(values, [self.regions.shape[1]], axis=1)
            self.sampling, self.rotation_deg = placement.step_A, placement.rotation_deg
            self.where = {"origin_A": list(placement.origin_A), "points": "placed"}
        self.frames = store.total_frames
        self._transformed: dict[tuple[int, int], Spectra] = {}

    def make(self, name: str, data: Array, units: str, method: str, **settings: Any) -> LiveMap:
        """A map with this picture's scale."""
        upsample = data.shape[0] / self.visited.shape[0]
        step = self.sampling
        sampling = None if step is None else (step[0] / upsample, step[1] / upsample)
        plain = np.ascontiguousarray(data, dtype=np.float32)
        return LiveMap(name, plain, units, sampling, self.frames, method, {**settings, **self.where})

    def virtual(self, wanted: Iterable[str]) -> Iterator[LiveMap]:
        for name in DETECTORS:
            if name in wanted:
                yield self.make(name, virtual_image(name, self.regions, self.visited), "counts", "virtual detector")

    @cached_property
    def _com_invA(self) -> DoubleArray:
        pixel = float(self.calibration.require("detector_pixel_invA", "the centre of mass in 1/Å"))
        com = center_of_mass(self.moments, self.visited)
        turned = turned_to_detector_axes(com, self.calibration.transform)
        return along_scan_axes(turned * pixel, self.rotation_deg)

    def com(self) -> Iterator[LiveMap]:
        row, col = self._com_invA
        rotation = self.rotation_deg
        yield self.make("com_row", row, "1/Å", "centre of mass along scan rows", rotation_deg=rotation)
        yield self.make("com_col", col, "1/Å", "centre of mass along scan columns", rotation_deg=rotation)

    def idpc(self) -> Iterator[LiveMap]:
        phase = integrated_dpc(self._com_invA, self._step_A("iDPC"), self.visited)
        yield self.make("idpc", phase, "rad", "integrated DPC, Fourier, mirror-padded")

    def dpc_iterative(self) -> Iterator[LiveMap]:
        phase = iterative_dpc(self._com_invA, self._step_A("iterative DPC"), self.visited)
        yield self.make("dpc_iterative", phase, "rad", "iterative DPC, free border")

    def _step_A(self, needed_for: str) -> tuple[float, float]:
        if self.placement is not None:
            return self.placement.step_A
        step = self.calibration.require("scan_step_A", needed_for)
        return float(step[0]), float(step[1])

    def filtered(self, filters: Filter) -> Iterator[LiveMap]:
        for picture in filters.linear_map.pictures(self._spectra(filters.conditions)):
            settings = {**picture.settings, **self.calibration.aberrations}
            made = self.make(picture.name, picture.data, picture.units, picture.method, **settings)
            yield replace(made, quality=picture.quality)

    def _spectra(self, conditions: ImagingConditions) -> Spectra:
        """Transformed coefficients, shared by all filters of one padded size."""
        made = self._transformed.get(conditions.padded)
        if made is None:
            made = self._transformed[conditions.padded] = Spectra.of(
                self.store, conditions, self.rows, self.contraction
            )
        return replace(made, conditions=conditions)
