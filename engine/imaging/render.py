"""From the store to pictures: one function per method, the same live and offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ptylive.engine.backend.imaging.bank import Contraction
from ptylive.engine.imaging import registry
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.declaration import Method
from ptylive.engine.imaging.filters import Filter
from ptylive.engine.imaging.instant import REGULAR, Instant, MapChoices
from ptylive.engine.imaging.noise.deviation import is_deviation
from ptylive.schema import Calibration, LiveMap, MetadataError
from ptylive.schema.errors import did_you_mean

METHODS = tuple(registry.methods())
"""Every method of the live engine, in the order in which they are made."""
AFTERWARDS = tuple(name for name, method in registry.methods().items() if method.afterwards)
"""Methods made when the scan has ended, not while it runs, because faster methods show the same."""
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    name: method.outputs for name, method in registry.methods().items() if method.outputs != (name,)
}
"""Maps of methods that make several, or one of another name; all others make one map of their own name."""


@dataclass
class Rendering:
    """Maps made at one moment, and why others were not."""

    maps: list[LiveMap] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def check_methods(names: Iterable[str]) -> tuple[str, ...]:
    """Return the requested methods, given by method or map names, in the engine's order. Raises MetadataError."""
    maker = {name: method for method in METHODS for name in (method, *OUTPUTS.get(method, ()))}
    wanted = [word if (word := name.strip()) in maker else registry.method_name(word) for name in names]
    for name in wanted:
        if name not in maker:
            otherwise = f"choose from {', '.join(word for word in maker if not is_deviation(word))}"
            raise MetadataError(f"unknown method {name!r}", did_you_mean(name.lower(), maker, otherwise))
    chosen = {maker[name] for name in wanted}
    return tuple(name for name in METHODS if name in chosen)


def methods_for(maps: Iterable[str]) -> frozenset[str]:
    """Return the methods that make these maps; method names are accepted, unknown names ignored."""
    names = frozenset(maps)
    return frozenset(m for m in METHODS if m in names or not names.isdisjoint(OUTPUTS.get(m, ())))


def render(
    store: Store,
    calibration: Calibration,
    filters: Mapping[str, Filter],
    methods: Iterable[str],
    rows: RowTransforms | None = None,
    choices: MapChoices = REGULAR,
    contraction: Contraction | None = None,
) -> Rendering:
    """Make every map of ``methods`` that the store, the calibration and the filters allow.

    ``rows``: kept between calls; ``choices``: placement and settings; ``contraction``: performs that of the filters.
    """
    out = Rendering()
    if not store.visited.any():
        return out
    now = Instant(store, calibration, rows or RowTransforms(), choices, contraction)
    for name in check_methods(methods):
        try:
            method = registry.methods()[name]
            maps = _maps_of(method, now, filters.get(name))
            out.maps.extend(_with_modulation(maps, now) if method.linear else maps)
        except MetadataError as error:
            out.missing[name] = str(error)
    return out


def _with_modulation(maps: Iterable[LiveMap], now: Instant) -> Iterator[LiveMap]:
    """Mark maps that assume a weak specimen if it is not weak; their deviations remain valid."""
    for live_map in maps:
        yield live_map if is_deviation(live_map.name) else replace(live_map, modulation=now.too_strong)


def _maps_of(method: Method, now: Instant, filters: Filter | None) -> Iterator[LiveMap]:
    """Yield the maps of a method; none while its filters are missing. Raises MetadataError naming missing values."""
    if method.make is not None:
        for value in method.optics:
            now.require(value, method.title)
        for picture in method.make(now):
            yield from now.as_maps(picture)
    elif filters is not None:
        for picture in filters.linear_map.pictures(now.spectra(filters.conditions)):
            yield from now.as_maps(picture, now.calibration.aberrations)
