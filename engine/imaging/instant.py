"""One moment of a scan as seen by the methods of live maps: quantities shared by several maps are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np

from ptylive.engine.backend.imaging.bank import Contraction
from ptylive.engine.descan import descan_of
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.noise.deviation import deviation_of, is_faint, local_deviation
from ptylive.engine.imaging.noise.rings import TRUSTED_SHARE, picture_quality
from ptylive.engine.imaging.placement import Placement
from ptylive.engine.imaging.strength.linearity import KeptStrength
from ptylive.pictures.sampling import stretched
from ptylive.schema import Calibration, LiveMap, MetadataError
from ptylive.schema.maps import RingQuality
from ptylive.schema.model import Array, BoolArray, DoubleArray

Shared = TypeVar("Shared")


@dataclass(frozen=True)
class MapChoices:
    """Choices for making maps: positions of the points, if not on a regular grid, and settings by full names.

    deviations: whether maps that have a noise picture are followed by their standard deviation. strength: of the
    specimen, shared with maps made earlier.
    """

    placement: Placement | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    deviations: bool = False
    strength: KeptStrength = field(default_factory=KeptStrength)


REGULAR = MapChoices()


class Instant:
    """Data of a scan that have arrived, on the grid (rows, cols) of the maps.

    regions (points, 4), moments (points, 3): sums at every point (``reduced_numbers``), read-only; visited (rows,
    cols): points that have a frame; sampling: step (row, col) in Å, None while unknown; rotation_deg: map axes to
    detector axes; calibration: values known so far; settings: map settings given by a user, by full names.
    """

    def __init__(
        self,
        store: Store,
        calibration: Calibration,
        rows: RowTransforms,
        choices: MapChoices = REGULAR,
        contraction: Contraction | None = None,
    ) -> None:
        placement = choices.placement
        self.calibration, self.placement, self.settings = calibration, placement, choices.settings
        self._store, self._rows, self._contraction = store, rows, contraction
        regions, moments = store.per_frame(store.regions), store.moments_without(descan_of(calibration))
        self.visited: BoolArray = store.visited
        self.sampling, self.rotation_deg = store.header.scan.step_A, calibration.rotation_deg
        self._deviations, self._strength = choices.deviations, choices.strength
        self._placed_settings: dict[str, Any] = {}
        if placement is not None:
            values = np.concatenate([regions, moments], axis=1)
            values, self.visited = placement.gridded(values, store.visited.ravel())
            regions, moments = np.split(values, [regions.shape[1]], axis=1)
            self.sampling, self.rotation_deg = placement.step_A, placement.rotation_deg
            self._placed_settings = {
                "origin_A": list(placement.origin_A),
                "points": "placed",
                "axes_deg": self.rotation_deg,
            }
        self.regions: DoubleArray = _read_only(regions)
        self.moments: DoubleArray = _read_only(moments)
        self._frames = store.total_frames
        self._shared: dict[Callable[[Instant], Any], Any] = {}
        self._transformed: dict[tuple[int, int], Spectra] = {}

    def require(self, name: str, needed_for: str) -> Any:
        """Return a calibrated value, or raise `<needed_for> needs <name>`; placed points provide their own step."""
        if name == "scan_step_A" and self.placement is not None:
            return self.placement.step_A
        return self.calibration.require(name, needed_for)

    @cached_property
    def step_A(self) -> tuple[float, float]:
        """Step (row, col) of the maps. Raises MetadataError while it is unknown."""
        step = self.require("scan_step_A", "this map")
        return float(step[0]), float(step[1])

    def once(self, compute: Callable[[Instant], Shared]) -> Shared:
        """Return ``compute`` of this instant, computed at the first call and shared; must not be modified."""
        if compute not in self._shared:
            self._shared[compute] = compute(self)
        return cast(Shared, self._shared[compute])

    @property
    def too_strong(self) -> float | None:
        """Modulation of the bright field if the specimen is not weak; determined only when the scan has ended."""
        if not self._deviations:
            return None
        strength = self._strength.of(self._store, self.calibration)
        return strength.modulation if strength.is_strong else None

    def spectra(self, conditions: ImagingConditions) -> Spectra:
        """Return the transformed coefficients, shared by all filters of one padded size."""
        transformed = self._transformed.get(conditions.padded)
        if transformed is None:
            transformed = self._transformed[conditions.padded] = Spectra.of(
                self._store, conditions, self._rows, self._contraction
            )
        return replace(transformed, conditions=conditions)

    def as_maps(self, picture: Picture, settings: Mapping[str, Any] | None = None) -> Iterator[LiveMap]:
        """Yield a picture with this instant's scale and, if requested and measured, its standard deviation by noise.

        ``settings``: in addition to the picture's own.
        """
        plain = replace(self._as_map(picture, settings), buried=self._is_all_noise(picture))
        if picture.noise is None or not self._deviations:
            yield plain
            return
        try:
            noise = picture.noise()
            local = local_deviation(noise, beams=False)
        except MetadataError:
            yield plain  # the map itself does not depend on its deviation
            raise
        visited = stretched(self.visited, local.data.shape)
        deviations = local.data[visited]
        median = float(np.median(deviations))
        faint = is_faint(plain.data[visited], deviations, len(deviations) / max(local.correlated_px, 1.0))
        yield replace(plain, deviation=median, faint=faint, quality=self._quality(plain, picture))
        window = {"window_px": round(local.window_px, 2)}
        method = f"standard deviation of {picture.name} due to noise, measured"
        deviation = Picture(
            deviation_of(picture.name),
            local.data,
            picture.units,
            method,
            {**picture.settings, **window},
            finer=picture.finer,
        )
        yield self._as_map(deviation, settings)

    def _quality(self, live_map: LiveMap, source: Picture) -> RingQuality | None:
        """Return what its rings carry, from pictures of the map and of its noise; unchanged without a scale."""
        if live_map.quality is None or live_map.sampling_A is None or source.even is None:
            return live_map.quality
        picture, noise = source.even()
        finer = {n // m for n, m in zip(live_map.data.shape, self.visited.shape, strict=True)}
        is_whole = len(finer) == 1 and all(
            n % m == 0 for n, m in zip(live_map.data.shape, self.visited.shape, strict=True)
        )
        return picture_quality(
            live_map.quality,
            picture,
            noise,
            live_map.sampling_A,
            finer.pop() if is_whole else 1,
            source.share_of_strongest,
        )

    def _is_all_noise(self, picture: Picture) -> bool:
        """Return whether its halves agree nowhere; False while too little of the scan has arrived to decide."""
        if picture.quality is None or not picture.quality.is_noise:
            return False
        return float(self.visited.mean()) >= TRUSTED_SHARE

    def _as_map(self, picture: Picture, settings: Mapping[str, Any] | None = None) -> LiveMap:
        finer = picture.finer or (picture.data.shape[0] / self.visited.shape[0],) * 2
        step = self.sampling
        sampling = None if step is None else (step[0] / finer[0], step[1] / finer[1])
        data = np.ascontiguousarray(picture.data, dtype=np.float32)
        all_settings = {**picture.settings, **(settings or {}), **self._placed_settings}
        name, units, method, quality = picture.name, picture.units, picture.method, picture.quality
        return LiveMap(
            name, data, units, sampling, self._frames, method, all_settings, quality, visited=float(self.visited.mean())
        )


def _read_only(values: Array) -> Array:
    """Return a view of the store's numbers that a map cannot overwrite."""
    view = values.view()
    view.flags.writeable = False
    return view
