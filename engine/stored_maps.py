"""Live maps read back from a results file (docs/conventions.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.pictures.sampling import stretched
from ptylive.schema import Calibration, InputFileError, LiveMap, Scan
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.maps import InformationLimit, RingQuality
from ptylive.schema.model import BoolArray
from ptylive.schema.pattern.distortion import distortion_of, numbers_of

if TYPE_CHECKING:
    from ptylive.schema.pattern.undistorted import Undistorted

MAP_SETTINGS, DISTORTION, PLACES = "map_settings", "distortion", "scan_places"
OF_PLACES = {
    "scan_pattern": "pattern",
    "flyback_frames": "flyback_frames",
    "skip_first": "skip_first",
    "repeats": "repeats",
}
"""Metadata that assign frames to scan points, in addition to the shape of the scan, which is that of the coverage:
names of metadata, and of fields of :class:`~ptylive.schema.Scan`."""
_PATTERNS = ("data", "events", "coefficients")
"""Groups of which a recording holds one and a results file none."""


@dataclass(frozen=True, eq=False)
class StoredMaps:
    """Maps of a scan. ``calibration``: attributes of the calibration used for them.

    ``coverage``: bool (rows, columns) of the scan points that had arrived; None in a file made by ``ptylive refine``,
    which holds no maps.
    """

    maps: dict[str, LiveMap]
    coverage: BoolArray | None
    calibration: dict[str, Any]
    rotation_deg: float = 0.0
    """Rotation of the scan's axes, from its calibration."""
    asked: Mapping[str, float] = field(default_factory=dict)
    """Settings given by the user for the maps (``METHOD.NAME``); a file of an earlier version has none."""
    distortion: tuple[float, ...] | None = None
    """Distortion removed from the patterns, 18 numbers; empty: none was removed; None: a file of an earlier version,
    which does not record it."""
    places: Mapping[str, Any] = field(default_factory=dict)
    """Order of the frames (:data:`OF_PLACES`); empty in a file of an earlier version."""

    @classmethod
    def read(cls, path: Path, names: Iterable[str] | None = None) -> StoredMaps:
        """Read all maps of a file, or those of ``names`` present, in the order of the file. Raises InputFileError."""
        import h5py

        check_is_file(path)
        wanted = None if names is None else set(names)
        try:
            with h5py.File(path, "r") as file:
                if "calibration" not in file and any(name in file for name in _PATTERNS):
                    raise InputFileError(
                        f"{path} is a scan, not a results file", "make one with ptylive reconstruct or refine"
                    )
                group = file.get("maps", {})
                coverage = np.asarray(file["coverage"][()], dtype=bool) if "coverage" in file else None
                if coverage is not None and (coverage.ndim != 2 or not coverage.size):
                    raise ValueError(f"its coverage has the shape {coverage.shape}")
                calibration = {name: _text(value) for name, value in file["calibration"].attrs.items()}
                return cls(
                    {
                        name: _stored(name, group[name], file.get(f"snr/{name}"), coverage)
                        for name in group
                        if wanted is None or name in wanted
                    },
                    coverage,
                    calibration,
                    float(Calibration.from_attributes(calibration).rotation_deg),
                    *_reconstruction_settings(file["settings"].attrs if "settings" in file else {}),
                )
        except FAULTS as error:
            raise damaged(path, error) from None

    def step_A(self, live_map: LiveMap) -> tuple[float, float]:
        """Return the scan step, Å: from the calibration, or otherwise as a whole number of pixels of the map."""
        step = np.ravel(self.calibration.get("scan_step_A", ()))
        if live_map.is_placed or self.coverage is None or step.size != 2:
            points = live_map.data.shape if live_map.is_placed or self.coverage is None else self.coverage.shape
            step = np.multiply(live_map.sampling_A or (1.0, 1.0), np.divide(live_map.data.shape, points))
        return float(step[0]), float(step[1])

    def visited(self, live_map: LiveMap) -> BoolArray | None:
        """Return the pixels of a map visited by the scan; None: all, or unknown because points lie off the grid."""
        if self.coverage is None or self.coverage.all() or live_map.is_placed:
            return None
        return stretched(self.coverage, live_map.data.shape)


def describe_maps(settings: Mapping[str, float], flat: Undistorted | None, scan: Scan) -> dict[str, str]:
    """Return attributes of `/settings`, in JSON, that record how maps were requested: the given settings, the
    distortion removed from patterns (empty: none), and the order in which frames were assigned to scan points.
    """
    described = {MAP_SETTINGS: dict(settings), DISTORTION: list(distortion_in_use(flat)), PLACES: places_of(scan)}
    return {name: json.dumps(value) for name, value in described.items()}


def places_of(scan: Scan) -> dict[str, Any]:
    """Return the order of the frames by names of metadata."""
    return {name: getattr(scan, attribute) for name, attribute in OF_PLACES.items()}


def other_places(places: Mapping[str, Any], points: tuple[int, ...] | None, scan: Scan) -> dict[str, Any]:
    """Return the values by which stored maps assigned frames to other points than ``scan`` does, shape included.

    places: their order, as far as it is known; points: rows and columns, None if unknown.
    """
    current = places_of(scan)
    different = {name: value for name, value in places.items() if value != current[name]}
    return different if points in (None, scan.shape) else {**different, "scan_shape": list(points or ())}


def distortion_in_use(flat: Undistorted | None) -> tuple[float, ...]:
    """Return the 18 numbers of the distortion removed from patterns; empty if none is removed."""
    return () if flat is None else numbers_of(distortion_of(flat.recorded.detector.distortion or (0.0,)))


def _stored(name: str, data: Any, rings: Any, coverage: BoolArray | None) -> LiveMap:
    """Read one map; ``rings``: the group of its ring quality. Raises ValueError if it is not a picture."""
    attributes = {key: _text(value) for key, value in data.attrs.items()}
    sampling = attributes.get("sampling_A")
    values = np.asarray(data[()], dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"its map {name} has the shape {values.shape}")
    if sampling is not None:
        sampling = (float(sampling[0]), float(sampling[1]))
        if not (np.isfinite(sampling).all() and min(sampling) > 0):
            raise ValueError(f"impossible sampling_A of its map {name}")
    return LiveMap(
        name=name,
        data=values,
        units=str(attributes.get("units", "")),
        sampling_A=sampling,
        frames=int(attributes.get("frames", 0)),
        method=str(attributes.get("method", "")),
        settings=dict(json.loads(str(attributes.get("settings", "{}")))),
        deviation=float(attributes["deviation"]) if "deviation" in attributes else None,
        quality=_quality(rings),
        visited=1.0 if coverage is None else float(coverage.mean()),
        limit=_limit(attributes),
        modulation=float(attributes["modulation"]) if "modulation" in attributes else None,
        buried=bool(attributes.get("buried", False)),
        faint=bool(attributes.get("faint", False)),
    )


def _reconstruction_settings(
    attributes: Mapping[str, Any],
) -> tuple[dict[str, float], tuple[float, ...] | None, dict[str, Any]]:
    """Read how maps were requested (`describe_maps`). Raises ValueError or TypeError for anything else."""
    settings = json.loads(_text(attributes.get(MAP_SETTINGS, "{}")))
    distortion = None
    if DISTORTION in attributes:
        numbers = json.loads(_text(attributes[DISTORTION]))
        if not isinstance(numbers, list):
            raise ValueError(f"its {DISTORTION} is {numbers!r:.40}")
        distortion = numbers_of(distortion_of([float(number) for number in numbers])) if numbers else ()
    places = json.loads(_text(attributes.get(PLACES, "{}")))
    scan = Scan(**{OF_PLACES[name]: value for name, value in places.items()})
    stored_places = {name: value for name, value in places_of(scan).items() if name in places}
    return {name: float(value) for name, value in settings.items()}, distortion, stored_places


def _quality(rings: Any) -> RingQuality | None:
    """Read the quality of a map's rings; None if the file does not hold all of it, as those of earlier versions."""
    if rings is None or not {"frequency_invA", "signal_share", "half_data_correlation"} <= set(rings):
        return None
    found = {field.name: rings[field.name][()] for field in fields(RingQuality) if field.name in rings}
    values = {name: np.asarray(stored, dtype=np.float64) for name, stored in found.items()}
    count = len(values["frequency_invA"])
    if any(stored.shape != (count,) or not np.isfinite(stored).all() for stored in values.values()):
        return None
    return RingQuality(**values)


def _limit(attributes: Mapping[str, Any]) -> InformationLimit | None:
    if not {"information_limit_A", "information_limit_uncertainty_A"} <= set(attributes):
        return None  # the earliest files lack the uncertainty
    period, uncertainty = float(attributes["information_limit_A"]), float(attributes["information_limit_uncertainty_A"])
    return InformationLimit(period, uncertainty, bool(attributes.get("information_limit_finer", False)))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
