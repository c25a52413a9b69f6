"""The server's description of its live maps: labels, colours and explanations. Other maps go by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ptylive.pictures.colours import ColourMap

FIRST_CHOICE = ("obf", "tcbf", "idpc", "adf")
"""Maps of the four panels when the page opens."""
MORE_CHOICE = ("dpc", "bf")
"""Maps of the two additional panels in the layout of six."""
STRONG_CHOICE = ("adf", "bf", "wdd_phase", "obf")
"""Maps of the four panels for a specimen that is not weak: first those whose sign no calibration can reverse."""
NOT_MAPS = frozenset(
    {"coverage", "pattern", "pattern_mean", "pattern_here", "object", "probe", "slices", "object_deviation"}
    | {"object_amplitude", "slice_amplitudes"}
)
DETECTOR = "vd_"
LAST_PLACE = 1000
METHODS_NEED = re.compile(r"([\w, ]+): needs ([^;]*)")
"""A remark of the server: the methods that lack something, and what."""
MOST_KINDS = 256
MOST_NUMBERS = 16
MOST_CHARACTERS = 300


@dataclass(frozen=True)
class MapNumber:
    """A number of a map that viewers may set; ``name``: METHOD.KEY; ``default``: None if the method chooses it."""

    name: str
    default: float | None
    low: float
    high: float
    about: str

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> MapNumber:
        """Parse a number as the server sends it. Raises KeyError, TypeError, ValueError if it is invalid."""
        name, default = _text(plain["name"]), plain.get("default")
        if not name.rpartition(".")[2]:
            raise ValueError("a number without a name")
        low, high = float(plain["low"]), float(plain["high"])
        return cls(name, None if default is None else float(default), low, high, _text(plain.get("about")))

    @property
    def key(self) -> str:
        """Name of the number within the method."""
        return self.name.rpartition(".")[2]

    def shown(self, chosen: Mapping[str, float]) -> str:
        """Value of the number as a user would type it."""
        value = chosen.get(self.name, self.default)
        return "auto" if value is None else f"{value:g}"

    @property
    def words(self) -> str:
        """One line with what the number does and its allowed range."""
        default = "auto" if self.default is None else f"{self.default:g}"
        return f"{self.key}: {self.about} ({self.low:g} to {self.high:g}; {default})"


@dataclass(frozen=True)
class MapKind:
    """A map as the chooser offers it; a smaller ``place`` comes earlier."""

    name: str
    label: str
    colour_map: ColourMap = ColourMap.GRAY
    place: int = LAST_PLACE
    about: str = ""
    """What the map shows, and when to trust it."""
    afterwards: bool = False
    """Whether the map is made only when a scan has ended: offered once it has arrived."""
    numbers: tuple[MapNumber, ...] = ()
    """Numbers of the map that viewers may set."""
    method: str = ""
    """Method that makes the map: one method may make several maps."""
    linear: bool = False
    """Whether the map treats the exit wave as linear in the potential of the specimen."""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> MapKind:
        """Parse a kind as the server sends it. Raises KeyError, TypeError, ValueError if it is invalid."""
        name, colours = _text(plain["name"]), plain.get("colour_map")
        shows, trust = _text(plain.get("shows")), _text(plain.get("trust"))
        if not name:
            raise ValueError("a map without a name")
        return cls(
            name,
            _text(plain.get("label")) or by_its_name(name).label,
            ColourMap(colours) if colours in tuple(ColourMap) else ColourMap.GRAY,
            int(plain.get("place", LAST_PLACE)),
            f"{shows}. Trust it: {trust}" if shows and trust else shows,
            bool(plain.get("afterwards")),
            tuple(MapNumber.from_plain(entry) for entry in list(plain.get("settings") or ())[:MOST_NUMBERS]),
            _text(plain.get("method")) or name,
            bool(plain.get("linear")),
        )


WHEEL = MapKind(
    "dpc", "DPC colour wheel", place=70, about="the centre of mass: hue its direction, saturation its length"
)
"""Made in the dashboard from the two components of the centre of mass."""


REFINED = MapKind(
    "refined",
    "refined phase",
    ColourMap.MAGMA,
    place=5,
    about="the phase of the refined object, turned and cropped to the scanned field. Trust it: as the refinement",
)
"""Made in the dashboard from the refined object; offered once there is one."""


@dataclass(frozen=True)
class MapKinds:
    """All known maps, by name."""

    known: Mapping[str, MapKind] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def from_plain(cls, plain: object) -> MapKinds:
        """Parse the kinds in a server's reply; invalid ones are left out, and an older server sends none."""
        kinds = {}
        for entry in list(plain)[:MOST_KINDS] if isinstance(plain, list | tuple) else ():
            try:
                kind = MapKind.from_plain(entry)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                continue
            kinds[kind.name] = kind
        return cls(MappingProxyType(kinds))

    def called(self, name: str) -> MapKind:
        """The kind of that name; a map that the server did not describe goes by its own name."""
        if name in (WHEEL.name, REFINED.name):
            return WHEEL if name == WHEEL.name else REFINED
        return self.known.get(name) or by_its_name(name)

    def labelled(self, remark: str) -> str:
        """A remark of the server on what methods need, with the labels of their maps instead of their names."""
        named = METHODS_NEED.fullmatch(remark)
        labels = [] if named is None else [self._label_of(method.strip()) for method in named[1].split(",")]
        if named is None or "" in labels:
            return remark
        return f"{', '.join(labels)}: {'needs' if len(labels) == 1 else 'need'} {named[2]}"

    def _label_of(self, method: str) -> str:
        """Label of the first map that a method makes, of a vector without its component; empty if there is none."""
        made = sorted((kind.place, kind.label) for kind in self.known.values() if kind.method == method)
        return made[0][1].partition(",")[0] if made else ""

    def offered(self, available: Iterable[str]) -> list[tuple[str, str]]:
        """(name, label) of every map to choose from: those that every scan has, then any others that have arrived."""
        every = {kind.name for kind in self.known.values() if not kind.afterwards} or set(FIRST_CHOICE)
        refined = {REFINED.name} if "object" in available else set()
        names = every | {WHEEL.name} | refined | set(available) - NOT_MAPS
        kinds = sorted((self.called(name) for name in names), key=lambda kind: (kind.place, kind.name))
        return [(kind.name, kind.label) for kind in kinds]


def by_its_name(name: str) -> MapKind:
    """Kind of a map that the server did not describe."""
    if name.startswith(DETECTOR):
        return MapKind(name, f"detector {name.removeprefix(DETECTOR)}")
    place = 10 * (1 + FIRST_CHOICE.index(name)) if name in FIRST_CHOICE else LAST_PLACE
    return MapKind(name, name.replace("_", " "), place=place)


def _text(value: object) -> str:
    return value[:MOST_CHARACTERS] if isinstance(value, str) else ""
