"""Scans, their maps and refined objects for scripts (docs/notebook.md), by the code that the command line runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive import arguments
from ptylive.engine.imaging.render import METHODS, methods_for
from ptylive.gallery import Gallery
from ptylive.schema import Calibration, LiveMap, MetadataError, ServerGoneError
from ptylive.schema.advice import Advice, advise
from ptylive.schema.errors import brief
from ptylive.schema.metadata import array_name, to_attributes
from ptylive.schema.model import Array, ComplexArray, DoubleArray, FloatArray

if TYPE_CHECKING:
    from ptylive.application.analysis.image_shifts import AlignedImages
    from ptylive.application.analysis.trotters import Trotters
    from ptylive.application.extensions import Preset
    from ptylive.application.offline import Reconstruction
    from ptylive.application.scan_access import ScanAccess
    from ptylive.engine.refine.results.refinement_result import RefineResult
    from ptylive.server.wire.client import ControlClient

log = logging.getLogger(__name__)
DESCRIBED = ("energy_eV", "convergence_semiangle_mrad")


def open_scan(source: str | Path | Array, **metadata: Any) -> Scan:
    """Open a recording or patterns in memory; ``metadata`` (``energy_eV=80e3``) take precedence over the file's.

    source: a file that ``ptylive inspect`` understands, or an array of counts, (rows, columns, Qy, Qx) or
    (N, Qy, Qx) in acquisition order; pixels that a masked array masks in every pattern are bad pixels. Metadata have
    the names and units of docs/conventions.md; text with another unit is understood (``energy_eV="80 keV"``). Raises
    InputFileError if it cannot be read, MetadataError for an unknown or impossible value.

    >>> import ptylive
    >>> from ptylive.simulators.data import bundled
    >>> ptylive.open_scan(bundled("mos2_svac_80kV_focus"))
    Scan('mos2_svac_80kV_focus.h5': 64 x 64 points of 64 x 64 pixels, uint16; energy_eV 80000, ...)
    """
    from ptylive.application.scan_access import ScanAccess
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.streamer.source import open_array, open_source
    from ptylive.streamer.vetting.whole_file import vet

    use_persistent_cache()
    values = arguments.metadata(metadata)
    if isinstance(source, str | os.PathLike):
        path = arguments.place("source", source)
        vet(path, {name: value for name, value in values.items() if array_name(name) is None})
        return Scan(ScanAccess(partial(open_source, path, values=values), values))
    patterns, values = arguments.patterns(source, values)
    return Scan(ScanAccess(partial(open_array, patterns, values=values), values))


def reconstruct(source: str | Path | Array, methods: Iterable[str] = METHODS, **metadata: Any) -> Maps:
    """Make maps of a recording or an array: ``open_scan(source, **metadata).reconstruct(methods)``."""
    return open_scan(source, **metadata).reconstruct(methods)


def refine(
    source: str | Path | Array, preset: Preset | Mapping[str, Any] | str | Path | None = None, **metadata: Any
) -> Refined:
    """Refine object and probe of a recording or array: ``open_scan(source, **metadata).refine(preset)``."""
    return open_scan(source, **metadata).refine(preset)


def simulate(
    path: str | Path, settings: Mapping[str, Any] | None = None, *, overwrite: bool = False, **values: Any
) -> Scan:
    """Simulate a scan, write it to a native file with the truth in ``/truth``, and open that file (docs/simulate.md).

    settings: by name, with or without their group (``{"probe": {"energy_eV": "200 keV"}, "seed": 7}``); ``values``
    take precedence over them. Omitted settings have defaults. Raises MetadataError for unknown or impossible settings
    and for simulations too large for memory, InputFileError for a file that already exists (without ``overwrite``) or
    that cannot be written or read, OSError for a full disk.
    """
    from ptylive.application.simulation import merged, simulate_file
    from ptylive.schema.simulation.settings import SimulationSettings

    wanted = SimulationSettings.of(merged(arguments.table("settings", settings or {}), values))
    return open_scan(simulate_file(arguments.place("path", path), wanted, overwrite=overwrite).path)


def connect(address: str | None = None, *, timeout_s: float = 3.0, keys: str | Path | None = None) -> ControlClient:
    """Connect to the control socket of a running server (``ptylive serve`` prints its address).

    ``connect().call("status")`` sends a command; docs/protocol.md lists the commands. keys: folder of this client's
    keys, None for the one in $PTYLIVE_KEYS, or for none. Raises ServerGoneError for an invalid address.
    """
    from ptylive.server.process.ports import DEFAULT_CONTROL
    from ptylive.server.wire.client import ControlClient

    if not isinstance(address, str | None):
        raise ServerGoneError(f"cannot connect to {brief(address)}", f"addresses look like {DEFAULT_CONTROL}")
    folder = None if keys is None else arguments.place("keys", keys)
    return ControlClient(address or DEFAULT_CONTROL, arguments.seconds("timeout_s", timeout_s), folder)


class Maps(Mapping[str, LiveMap]):
    """Maps of a scan by name; ``maps["obf"].data`` is the array (rows, cols), in ``maps["obf"].units``."""

    def __init__(self, reconstruction: Reconstruction) -> None:
        self._reconstruction = reconstruction
        self._maps = {live_map.name: live_map for live_map in reconstruction.rendering.maps}

    def __getitem__(self, name: str) -> LiveMap:
        if name not in self._maps:
            raise KeyError(f"{name}{self._why(name)}; made: {', '.join(self) or 'none'}")
        return self._maps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __repr__(self) -> str:
        shapes = {" x ".join(map(str, live_map.data.shape)) for live_map in self._maps.values()}
        return f"Maps({', '.join(self)}; {' and '.join(sorted(shapes))} pixels, {self._reconstruction.frames} frames)"

    def _repr_html_(self) -> str:
        return self.show()._repr_html_()

    @property
    def calibration(self) -> Calibration:
        """The values that the maps were made with, and the origin of each."""
        return self._reconstruction.calibration

    @property
    def advice(self) -> Advice:
        """What to change at the microscope, and what cannot be determined (docs/advise.md)."""
        return advise(self.calibration)

    @property
    def missing(self) -> Mapping[str, str]:
        """Maps that could not be made, with the reason."""
        return self._reconstruction.rendering.missing

    @property
    def remarks(self) -> tuple[str, ...]:
        """Suspicious findings about the data, one sentence each."""
        return self._reconstruction.remarks

    def show(self, *names: str) -> Gallery:
        """Pictures of the named maps, or of all without names. Raises MetadataError for a map that was not made."""
        for name in names:
            if not isinstance(name, str) or name not in self._maps:
                raise MetadataError(f"no map {brief(name)}{self._why(name)}", f"made: {', '.join(self) or 'none'}")
        shown = {f"{name}, {self[name].units}": self[name] for name in names or self}
        return Gallery(
            {title: live_map.data for title, live_map in shown.items()},
            {title: live_map.sampling_A for title, live_map in shown.items()},
        )

    def _why(self, name: object) -> str:
        """Why a map was not made, after a colon, if the reason is known."""
        methods = methods_for([name]) if isinstance(name, str) else ()
        return "".join(f": {self.missing[method]}" for method in methods if method in self.missing)


@dataclass(frozen=True, repr=False)
class Refined:
    """The result of a refinement; ``result`` contains all of it."""

    result: RefineResult

    @property
    def object(self) -> ComplexArray:
        """Transmission function of the first object mode, (slices, y, x)."""
        return np.asarray(self.result.object[0])

    @property
    def phase(self) -> FloatArray:
        """Phase of the first object mode, (slices, y, x), rad."""
        return np.asarray(np.angle(self.result.object[0]), dtype=np.float32)

    @property
    def phase_deviation(self) -> FloatArray | None:
        """Standard deviation (y, x) of the phase summed over slices, rad; NaN where it is unknown."""
        deviation = self.result.phase_deviation
        return None if deviation is None else deviation.map_rad

    @property
    def probe(self) -> ComplexArray:
        """Probe modes in real space, (modes, P, P), centred on pixel P // 2; sum |probe|^2 = mean counts."""
        return np.asarray(self.result.probe[0])

    @property
    def sampling_A(self) -> tuple[float, float]:
        """Pixel size of the object along y and x, Å."""
        return self.result.object_sampling_A

    @property
    def positions_A(self) -> DoubleArray:
        """Scan positions (N, 2), Å."""
        return self.result.positions_A

    def __repr__(self) -> str:
        slices, rows, cols = self.result.object.shape[1:]
        loss = f", loss {self.result.loss[-1]:.4g}" if len(self.result.loss) else ""
        depth = "1 slice" if slices == 1 else f"{slices} slices"
        size = f"{depth} of {rows} x {cols} pixels of {self.sampling_A[0]:.3g} Å"
        return f"Refined({self.result.state}: {size}, {len(self.probe)} probe modes{loss})"

    def _repr_html_(self) -> str:
        return self.show()._repr_html_()

    def show(self) -> Gallery:
        """The phase, summed over the slices, and the probe."""
        strength = np.sqrt((np.abs(self.probe) ** 2).sum(axis=0))
        return Gallery({"phase, rad": self.phase.sum(axis=0), "probe, amplitude": strength})


@dataclass(frozen=True, repr=False)
class Scan:
    """A recording or patterns in memory, with the metadata that apply to it; created by :func:`open_scan`."""

    access: ScanAccess

    def __post_init__(self) -> None:
        """Read the description, so that errors are reported immediately."""
        _ = self._described

    @property
    def values(self) -> Mapping[str, Any]:
        """Metadata that take precedence over the file's."""
        return self.access.values

    @cached_property
    def _described(self) -> str:
        with self.access.open() as source:
            shape = source.header.scan.shape
            points = f"{shape[0]} x {shape[1]} points" if shape else f"{source.frame_count} frames"
            attributes = to_attributes(source.header)
            optics = ", ".join(f"{name} {attributes[name]:g}" for name in DESCRIBED if attributes.get(name))
            raw = source.header.basis.is_raw
            kind = np.dtype(source.header.detector.dtype).name if raw else f"coefficients ({source.header.basis.kind})"
            rows, cols = source.header.detector_shape
            return f"{source.path.name!r}: {points} of {rows} x {cols} pixels, {kind}" + (
                f"; {optics}" if optics else ""
            )

    def __repr__(self) -> str:
        return f"Scan({self._described})"

    def reconstruct(
        self,
        methods: Iterable[str] = METHODS,
        *,
        backend: str = "auto",
        detectors: Mapping[str, str | Array] = MappingProxyType({}),
        settings: Mapping[str, float] = MappingProxyType({}),
    ) -> Maps:
        """Make all live maps, or some (``["obf", "com"]``); every value that is not given is estimated.

        ``backend``: auto, cpu or gpu. ``detectors``: virtual ones by name, whose maps are ``vd_<name>``: text such as
        ``"ring:60mrad,200mrad"``, ``"disc:31.5,12,6"`` (row, column, radius in pixels) or ``"mask.npy"``, or arrays of
        weights (Qy, Qx). ``settings``: of maps, as ``{"wdd.epsilon": 0.1}`` (docs/maps.md). Raises MetadataError for an
        unknown method, an invalid detector or setting, or a scan without a shape.
        """
        from ptylive.application.offline import MapRequest, reconstruct_source

        named, detecting = arguments.texts("methods", methods), arguments.table("detectors", detectors)
        request = MapRequest(backend=backend, detectors=detecting, settings=arguments.table("settings", settings))
        with self.access.open() as source:
            return Maps(reconstruct_source(source, self.values, named, request))

    def align(
        self,
        *,
        bin_px: float | None = None,
        order: int = 1,
        reference: str = "mean",
        rounds: int = 3,
        near: bool = True,
    ) -> AlignedImages:
        """Shifts of images from parts of the bright field, and the aberrations that explain them (parallax).

        For scans of frames. Options are those of ``ptylive align`` (docs/maps.md); ``near``: the opposite of
        ``--free``. Raises MetadataError.
        """
        from ptylive.application.analysis.image_shifts import align_source
        from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions, reference_of

        alignment = AlignmentOptions(bin_px, order, reference_of(reference), rounds, near)
        with self.access.open() as source:
            return align_source(source, self.values, alignment)

    def trotters(self, *frequencies: Iterable[float] | None) -> Trotters:
        """The 4D data over the detector at frequencies (row, col; 1/Å, scan axes); None or no argument: the strongest.

        Before and after correcting the aberrations, as on the page and in ``ptylive trotters``. Raises
        MetadataError for missing optics, and for invalid frequencies.
        """
        from ptylive.application.analysis.trotters import checked, trotters_of

        requested = checked(list(frequencies or [None]))
        with self.access.open() as source:
            return trotters_of(source, self.values, requested)

    def refine(
        self,
        preset: Preset | Mapping[str, Any] | str | Path | None = None,
        *,
        backend: str = "auto",
        threads: int = 1,
        history: str | Path | None = None,
        history_epochs: int = 1,
        beside: Iterable[Scan] = (),
        **settings: Any,
    ) -> Refined:
        """Refine object and probe of the scan; ``settings`` (docs/settings.md) override the preset's.

        preset: settings, or a file of them, as for ``ptylive refine --preset``. A start map is ``start_map``, with
        ``map_settings`` (``{"obf.noise": 3}``), which a preset may also contain alone. beside: scans of the same place
        at other tilts of the specimen, refined together with this one; ``scan_tilts_mrad`` then has a pair for each,
        this scan's first (docs/how-to/tilt-series.md). history: folder for object, probe, loss and positions of every
        ``history_epochs``-th epoch (docs/film.md). Raises MetadataError for missing optics or an unknown setting,
        InputFileError for a folder that cannot be written, RefinementError if it cannot start. Messages are logged.
        """
        from ptylive.application.extensions import Preset
        from ptylive.application.offline import refinable, start_of
        from ptylive.application.outputs import check_output_folder
        from ptylive.application.presets import preset_of
        from ptylive.application.scan_access import map_named
        from ptylive.application.tilt_series import RecordedScan, together
        from ptylive.engine.backend.device import check_name
        from ptylive.engine.dataset import check_metadata
        from ptylive.engine.refine import refine
        from ptylive.engine.refine.run.history import History

        epochs, threads = arguments.whole("history_epochs", history_epochs, 1), arguments.threads(threads)
        check_name(backend)
        recorder = None if history is None else History(arguments.place("history", history), epochs)
        if recorder is not None:
            check_output_folder(recorder.folder)
        loaded = preset_of(arguments.settings(preset))
        this, *others = (each.access.described_by(loaded) for each in (self, *_scans(beside)))
        for note in loaded.notes:
            log.warning("%s", note)
        resolved = Preset.from_mapping({**loaded.settings, **settings})
        with this.open() as source:
            check_metadata(source.header, far_field=not resolved.propagation.near_field)
        made = this.start(resolved.start)
        start = start_of(partial(map_named, made), resolved.start, made.calibration)
        with ExitStack() as opened:
            source = opened.enter_context(this.open())
            dataset = refinable(source, made.calibration)
            scans = [RecordedScan(source.path.name, dataset, start, source.path)]
            for other in others:
                scans.append(other.beside(scans[0], resolved.start, opened))
            dataset = together(scans, resolved, log.info) if len(scans) > 1 else dataset
            result = refine(dataset, resolved, start=start, backend=backend, threads=threads, history=recorder)
        if result.message:
            log.warning("%s", result.message)
        return Refined(result)


def _scans(beside: Iterable[Scan]) -> list[Scan]:
    listed = list(beside) if isinstance(beside, Iterable) else [beside]
    if wrong := [item for item in listed if not isinstance(item, Scan)]:
        raise MetadataError(f"beside contains {brief(wrong[0])}", "give scans, each opened with open_scan")
    return listed
