"""The declaration of a live map, in the map's own file; all other code reads it from there (docs/maps.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import ModuleType
from typing import Any, Protocol, TypeVar

import numpy as np

from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.instant import Instant
from ptylive.engine.imaging.noise.deviation import deviation_of
from ptylive.pictures.colours import ColourMap
from ptylive.schema import MetadataError
from ptylive.schema.errors import brief, did_you_mean
from ptylive.schema.model import DoubleArray
from ptylive.schema.units import in_unit_of

PTYLIVE = "ptylive"
"""Source of the built-in maps."""
FILTER_OPTICS = ("energy_eV", "convergence_semiangle_mrad", "detector_pixel_invA", "beam_center_px", "scan_step_A")
"""Calibrated values that filters of any kind need (``ImagingConditions.of``)."""
NO_MAPS = frozenset({"coverage", "pattern", "pattern_mean", "object", "probe", "slices", "dpc"})
"""Names that viewers use for other pictures."""
DETECTOR_PREFIX = "vd_"
LAST_PLACE = 1000
"""Place in a chooser of a map that names none: behind all others."""
DEVIATION_PLACES = 500
"""Distance in a chooser between a map and its deviation, in places."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MARK = "__ptylive_live_map__"


FINEST = 8
"""Largest factor by which a map may be sampled finer than the scan."""


class Needs(StrEnum):
    """Data that a method is made from."""

    REGIONS = "sums over regions of the detector"
    MOMENTS = "moments of the patterns"
    FILTERS = "filters"


class LinearMap(Protocol):
    """Filters of one method, ready to be applied."""

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Make the maps of this method from the transformed coefficients."""
        ...


class FilterMaker(Protocol):
    """A class whose ``build`` makes filters; ``mean`` (bins,): mean coefficients of patterns of unit sum."""

    def build(self, conditions: ImagingConditions, mean: DoubleArray, /) -> LinearMap:
        """Make filters for the given imaging conditions."""
        ...


Make = Callable[[Instant], Iterable[Picture]]
Build = Callable[[ImagingConditions, DoubleArray], LinearMap]
Made = TypeVar("Made", bound=Make | FilterMaker)


@dataclass(frozen=True)
class MapWords:
    """One map as presented to users; ``place``: its position in choosers, the smallest first."""

    name: str
    label: str
    units: str
    shows: str
    """One line: what it shows."""
    trust: str
    """One line: when to trust it."""
    colours: ColourMap = ColourMap.GRAY
    place: int = LAST_PLACE
    deviation_of: str = ""
    """Name of the map whose standard deviation this is; such maps are made when the scan has ended."""

    def __post_init__(self) -> None:
        """Raise ValueError for texts that no viewer could show."""
        _check_name(self.name)
        for text in (self.label, self.units, self.shows, self.trust):
            if not isinstance(text, str) or not (text.isprintable() or not text):
                raise ValueError(f"map {self.name}: label, units, shows and trust must be texts of one line")
        if not self.label or not self.shows:
            raise ValueError(f"map {self.name} has no label, or does not say what it shows")


def with_deviation(words: MapWords) -> tuple[MapWords, MapWords]:
    """Return a map whose pictures come with their noise, and the map of its standard deviation."""
    deviation = MapWords(
        deviation_of(words.name),
        label=f"± {words.label}",
        units=words.units,
        shows=f"scatter of the map {words.name} due to noise alone: one standard deviation, averaged over some pixels",
        trust="as the scatter between repeated scans; errors of the calibration, which they share, are not included",
        colours=ColourMap.GRAY,
        place=words.place + DEVIATION_PLACES,
        deviation_of=words.name,
    )
    return words, deviation


@dataclass(frozen=True)
class MapSetting:
    """A number of a method that users may set, as ``METHOD.NAME``; between ``low`` and ``high``."""

    default: float | None
    """None: chosen by the method."""
    low: float
    high: float
    about: str
    """One line: what it does."""
    whole: bool = False
    also: tuple[str, ...] = ()
    """Names of this setting in other programs."""
    words: tuple[str, ...] = ()
    """Words for the values 0, 1, … that users may give instead of numbers."""

    @property
    def meaning(self) -> str:
        """Description, with the numbers that words stand for."""
        return " ".join([self.about, *[f"{word} ({number})" for number, word in enumerate(self.words)]])

    def checked(self, name: str, value: Any) -> float:
        """Return a value given by a user, possibly with a unit (``0.5 1/nm``), validated. Raises MetadataError."""
        if self.words and isinstance(value, str):
            if value not in self.words:
                known = f"give {' or '.join(self.words)}"
                raise MetadataError(f"{name}={brief(value)} is unknown", did_you_mean(value, self.words, known))
            return self.words.index(value)
        value = in_unit_of(name, value)
        hint = f"give a{' whole' if self.whole else ''} number from {self.low:g} to {self.high:g}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.integer | np.floating)
            or not self.low <= value <= self.high
        ):
            raise MetadataError(f"{name}={brief(value)} is not possible", hint)
        if self.whole and value != int(value):
            raise MetadataError(f"{name}={value:g} is not a whole number", hint)
        return int(value) if self.whole else float(value)


UPSAMPLE = MapSetting(
    None,
    1,
    FINEST,
    "factor by which it is finer than the scan, also 1.5; beyond 2, a lattice may be an alias of the scan",
    also=("kde_upsample_factor",),
)
"""The setting ``upsample`` of maps that may be finer than the scan."""


DEPTH = MapSetting(
    None,
    -10000,
    10000,
    "depth below the entrance at which this map is focused, Å; chosen: that of the calibration (depth_A)",
)
"""The setting ``depth_A`` of maps that depend on the defocus."""


THRESHOLD = MapSetting(
    None,
    1e-9,
    1,
    "instead of epsilon: divide by the power itself, and set to 0 where it is below this share of its maximum",
    also=("thresh",),
)
"""The setting ``threshold`` of maps that divide by a power."""


WIENER = ("relative_wiener_epsilon", "eps_wiener")
"""Other names of ``epsilon``."""


def in_use(method: str, settings: Mapping[str, float], **defaults: float) -> dict[str, float]:
    """Return the settings of one method by their short names: the defaults, overridden by what the user set."""
    given = {
        name.removeprefix(f"{method}."): value for name, value in settings.items() if name.startswith(f"{method}.")
    }
    return {**defaults, **given}


@dataclass(frozen=True, eq=False)
class Method:
    """A method that makes one or several maps together.

    title: its name in a sentence ("iDPC needs scan_step_A"); order: rank among methods that need filters, or among
    those that do not, quickest first; afterwards: made when the scan has ended, not while it runs.
    """

    name: str
    title: str
    needs: Needs
    maps: tuple[MapWords, ...]
    order: int = LAST_PLACE
    afterwards: bool = False
    optics: tuple[str, ...] = ()
    """Names of calibrated values required to make it."""
    from_roots: tuple[str, ...] | None = None
    """Extras that make it possible from a stream of square roots; None: never possible."""
    settings: Mapping[str, MapSetting | float | str] = field(default_factory=dict)
    """Numbers that users may set, and constants of the method listed for information."""
    also: tuple[str, ...] = ()
    """Names of this method in other programs."""
    planes: float = 0.5
    """Memory of its filters per coefficient, in planes of the padded scan: half a plane for a real map."""
    finer: bool = False
    """Whether its map may be sampled more finely than the scan."""
    linear: bool = False
    """Whether it assumes an exit wave linear in the potential, so that it means little for thick crystals."""
    make: Make | None = None
    build: Build | None = None
    source: str = PTYLIVE
    """Package that provides it."""

    def __post_init__(self) -> None:
        """Raise ValueError for an inconsistent declaration."""
        _check_name(self.name)
        if not self.maps or len(set(self.outputs)) < len(self.maps):
            raise ValueError(f"{self.name} makes no map, or two maps with the same name")
        if self.needs is Needs.FILTERS:
            object.__setattr__(self, "optics", FILTER_OPTICS)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its maps."""
        return tuple(words.name for words in self.maps)

    @property
    def may_be_set(self) -> dict[str, MapSetting]:
        """Its settings under their full names, ``METHOD.NAME``."""
        settable = {name: setting for name, setting in self.settings.items() if isinstance(setting, MapSetting)}
        return {f"{self.name}.{name}": setting for name, setting in settable.items()}

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Sort key of methods: those without filters first, the quickest first."""
        return self.needs is Needs.FILTERS, self.order, self.name


def live_map(method: Method) -> Callable[[Made], Made]:
    """Declare the maker of a live map: a function from an :class:`Instant` to pictures, or a class that builds filters.

    Raises ValueError if the method needs the other kind.
    """

    def declare(maker: Made) -> Made:
        setattr(maker, _MARK, _with_maker(method, maker))
        return maker

    return declare


def _with_maker(method: Method, maker: Any) -> Method:
    if method.needs is Needs.FILTERS:
        build = getattr(maker, "build", None)
        if not isinstance(maker, type) or not callable(build):
            raise ValueError(f"{method.name} needs filters: declare a class with a class method `build`")
        return replace(method, build=build)
    if isinstance(maker, type) or not callable(maker):
        raise ValueError(f"{method.name} needs no filters: declare a function")
    return replace(method, make=maker)


def declared(found: object) -> list[Method]:
    """Return the methods declared in a module (or its own modules that a package imports), or by the object itself."""
    if not isinstance(found, ModuleType):
        return [getattr(found, "__dict__", {})[_MARK]] if _MARK in getattr(found, "__dict__", {}) else []
    methods: dict[int, Method] = {}
    for value in vars(found).values():
        home = str(getattr(value, "__module__", ""))
        if home == found.__name__ or home.startswith(f"{found.__name__}."):
            methods |= {id(method): method for method in declared(value)}
    return list(methods.values())


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid map name: small letters, digits and _, at most 40")
    if name in NO_MAPS or name.startswith(DETECTOR_PREFIX):
        raise ValueError(f"the name {name} is already used for another image")
