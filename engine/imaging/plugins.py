"""Live maps of installed packages: found by their entry points, and isolated so that they cannot harm other maps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

import numpy as np

from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import FINEST, Build, LinearMap, Make, Method, declared
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.instant import Instant
from ptylive.engine.imaging.noise.deviation import deviation_of
from ptylive.schema import MetadataError
from ptylive.schema.errors import printable
from ptylive.schema.model import Array, DoubleArray

GROUP = "ptylive.maps"
MOST_CHARACTERS = 300
"""Length to which the message of an error in third-party code is cut."""

log = logging.getLogger(__name__)


def from_packages(own: Iterable[Method], entries: Iterable[EntryPoint] | None = None) -> tuple[list[Method], list[str]]:
    """Return methods that packages declare under the entry-point group ``ptylive.maps``, and why others are left out.

    ``own``: methods whose names are taken. A failure to load affects that package only: it yields a line, also logged,
    that names the package and the reason. ``entries``: used instead of those of the installed packages.
    """
    owner = {name: method.source for method in own for name in (method.name, *method.outputs)}
    accepted: list[Method] = []
    problems: list[str] = []
    for entry in sorted(entry_points(group=GROUP) if entries is None else entries, key=_by_package):
        package = _package(entry)
        try:
            methods = _loaded(entry)
        except (Exception, SystemExit) as error:
            problems.append(f"the live maps of package {package} are left out: {entry.value}: {reason(error)}")
            continue
        for method in methods:
            names = (method.name, *method.outputs)
            clash = next((name for name in names if name in owner), None)
            if clash is not None:
                subject = f"the live map {method.name} of package {package} is left out"
                problems.append(f"{subject}: the name {clash} is already used by {owner[clash]}")
                continue
            owner.update(dict.fromkeys(names, package))
            accepted.append(guarded(replace(method, source=package)))
    for line in problems:
        log.warning("%s", line)
    return accepted, problems


def _loaded(entry: EntryPoint) -> list[Method]:
    """Return what an entry point declares. Raises ValueError if that is nothing, and whatever its code raises."""
    methods = declared(entry.load())
    if not methods:
        raise ValueError("it declares nothing with @live_map")
    return methods


def _by_package(entry: EntryPoint) -> tuple[str, str, str]:
    return _package(entry), entry.name, entry.value


def _package(entry: EntryPoint) -> str:
    """Return the name of the package that an entry point belongs to."""
    name = getattr(getattr(entry, "dist", None), "name", None)
    return printable(str(name or entry.value.partition(":")[0]))


def reason(error: BaseException) -> str:
    """Return an error of third-party code on one line."""
    text = printable(" ".join(str(error).split()))[:MOST_CHARACTERS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- when maps are made -------------------------------------------------------------------------------------------


def guarded(method: Method) -> Method:
    """Return the method with any failure in it turned into a MetadataError that names its package."""
    if method.build is not None:
        return replace(method, build=_guarded_build(method, method.build))
    return method if method.make is None else replace(method, make=_guarded_make(method, method.make))


def _guarded_make(method: Method, make: Make) -> Make:
    def make_checked(now: Instant) -> list[Picture]:
        with _failures_contained(method):
            return [_checked(method, picture, now.visited.shape) for picture in make(now)]

    return make_checked


def _guarded_build(method: Method, build: Build) -> Build:
    def build_guarded(conditions: ImagingConditions, mean: DoubleArray) -> LinearMap:
        try:
            with _failures_contained(method):
                return _GuardedFilters(method, build(conditions, mean))
        except MetadataError as error:
            return _NoFilters(error)

    return build_guarded


@dataclass(frozen=True, eq=False)
class _NoFilters:
    """Filters that could not be made; the error is raised on use, as nobody would notice it in the background."""

    error: MetadataError

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Raise the MetadataError that states the reason."""
        del spectra
        raise MetadataError(str(self.error), self.error.hint)


@dataclass(frozen=True, eq=False)
class _GuardedFilters:
    """Filters of a package, with failures turned into MetadataError."""

    method: Method
    inner: LinearMap

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Make the maps. Raises MetadataError for any failure."""
        with _failures_contained(self.method):
            shape = spectra.visited.shape
            checked = [_checked(self.method, picture, shape) for picture in self.inner.pictures(spectra)]
        yield from checked


@contextmanager
def _failures_contained(method: Method) -> Iterator[None]:
    """Turn errors of third-party code into a MetadataError with the name of the package."""
    try:
        yield
    except MetadataError:
        raise
    except Exception as error:
        log.debug("the live map %s of package %s failed", method.name, method.source, exc_info=True)
        raise MetadataError(f"{method.title} of package {method.source} failed: {reason(error)}") from error


def _checked(method: Method, picture: Picture, shape: tuple[int, ...]) -> Picture:
    """Return a picture that all later code can handle. Raises ValueError with the reason if it is unusable."""
    if not isinstance(picture, Picture) or picture.name not in method.outputs:
        given_name = getattr(picture, "name", type(picture).__name__)
        raise ValueError(f"it made {given_name!r}, but declares {', '.join(method.outputs)}")
    data: Array = np.asarray(picture.data)
    finer = data.shape[0] // shape[0] if data.ndim == 2 else 0
    if data.ndim != 2 or data.shape != (finer * shape[0], finer * shape[1]) or not 1 <= finer <= FINEST:
        raise ValueError(f"{picture.name} has shape {data.shape}, the scan {tuple(shape)}")
    data = _finite(picture.name, data)
    words = [*picture.settings.values(), picture.units, picture.method]
    if not all(isinstance(word, str | int | float) for word in words):
        raise ValueError(f"{picture.name}: settings, units and method must be texts and numbers")
    noise = picture.noise

    def checked_noise() -> Array:
        with _failures_contained(method):
            values: Array = np.asarray(noise() if noise else ())
            if values.ndim not in (2, 3) or values.shape[-2:] != data.shape:
                raise ValueError(f"the noise of {picture.name} has shape {values.shape}, the map {data.shape}")
            return _finite(f"the noise of {picture.name}", values)

    has_deviation = noise is not None and deviation_of(picture.name) in method.outputs
    # results files and viewers rely on ring qualities, so third-party ones are dropped
    return replace(picture, data=data, quality=None, noise=checked_noise if has_deviation else None)


def _finite(name: str, data: Array) -> Array:
    """Return the numbers unchanged. Raises ValueError for anything else."""
    if data.dtype.kind not in "fiub" or not np.isfinite(data).all():
        raise ValueError(f"{name} holds values that are not finite numbers")
    return data
