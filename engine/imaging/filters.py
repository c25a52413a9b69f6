"""Maps that are filters, and the construction of the filters: one after the other, each used as soon as it is ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial

from ptylive.engine.imaging import registry
from ptylive.engine.imaging.declaration import Build, LinearMap
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.schema import MetadataError
from ptylive.schema.model import DoubleArray

BUILDERS: dict[str, Build] = {name: one.build for name, one in registry.methods().items() if one.build is not None}
"""Filter builder of each method, quickest first."""


@dataclass(frozen=True, eq=False)
class Filter:
    """Filters of one method, with the conditions they were made for (at the method's depth) and the ordered ones."""

    conditions: ImagingConditions
    linear_map: LinearMap
    ordered: ImagingConditions

    @classmethod
    def build(cls, method: str, conditions: ImagingConditions, mean: DoubleArray) -> Filter:
        """Make the filters; ``mean`` (bins,): mean coefficients of patterns of unit sum."""
        focused = conditions.focused_for(method)
        return cls(focused, BUILDERS[method](focused, mean), conditions)


@dataclass(eq=False)
class FilterStock:
    """Filters in use, and those being made for newer conditions.

    Only filters that are needed are made. With an executor they are made in the background, and the old filters stay in
    use until the new ones are ready.
    """

    methods: tuple[str, ...]
    background: Executor | None = None
    sizes: Mapping[str, float] = field(default_factory=dict)
    """Bytes of the filters of each method; methods not listed count as 0."""
    most_bytes: float = math.inf
    """Limit for all filters that are kept."""
    ready: dict[str, Filter] = field(default_factory=dict)
    ordered: tuple[ImagingConditions, DoubleArray] | None = None
    refused: dict[str, str] = field(default_factory=dict)
    """Methods impossible under these conditions, with the reason: numbers set by a user may suit other scans only."""
    crowded: dict[str, str] = field(default_factory=dict)
    """Methods requested last whose filters do not fit in memory next to those of the others, with the reason."""
    _coming: dict[str, Future[Filter]] = field(default_factory=dict)

    def order(self, conditions: ImagingConditions, mean: DoubleArray) -> None:
        """Order all filters needed from now on for these conditions; filters begun for others are discarded.

        ``mean`` (bins,): mean coefficients of patterns of unit sum.
        """
        self.forget()
        self.ordered = (conditions, mean)

    def need(self, methods: Iterable[str]) -> None:
        """Make the filters of these methods unless they are ready or being made, as far as memory allows."""
        if self.ordered is None:
            return
        conditions, mean = self.ordered
        methods = self._with_room(methods)
        for method in self._missing(methods):
            if self.background is not None:
                self._coming[method] = self.background.submit(Filter.build, method, conditions, mean)
            else:
                self._use(method, partial(Filter.build, method, conditions, mean))
        if self.background is None:
            for method in [name for name in self._coming if name in methods]:
                self._use(method, self._coming.pop(method).result)

    def _with_room(self, methods: Iterable[str]) -> list[str]:
        """Return the methods that fit together, quickest first, at least one; discard unneeded filters if necessary."""
        wanted, fitting, used_bytes = set(methods), list[str](), 0.0
        self.crowded = {}
        for method in (name for name in self.methods if name in wanted):
            size = self.sizes.get(method, 0.0)
            if fitting and used_bytes + size > self.most_bytes:
                crowding = " and ".join(fitting)
                self.crowded[method] = (
                    f"{size / 1e9:.1f} GB of filters do not fit into memory next to {crowding}: show fewer maps"
                )
                continue
            fitting.append(method)
            used_bytes += size
        unneeded = [name for name in (*self.ready, *self._coming) if name not in fitting]
        if used_bytes + sum(self.sizes.get(name, 0.0) for name in unneeded) > self.most_bytes:
            for name in unneeded:
                self.ready.pop(name, None)
                if (future := self._coming.pop(name, None)) is not None:
                    future.cancel()
        return fitting

    def _use(self, method: str, make: Callable[[], Filter]) -> None:
        try:
            self.ready[method] = make()
        except MetadataError as error:
            self.ready.pop(method, None)
            self.refused[method] = error.line()

    def make_ahead(self, methods: Iterable[str], helper: Executor) -> None:
        """Start making the filters that will be needed next; :meth:`need` waits for them."""
        if self.ordered is not None:
            for method in self._missing(methods):
                self._coming[method] = helper.submit(Filter.build, method, *self.ordered)

    def _missing(self, methods: Iterable[str]) -> list[str]:
        """Return those of the methods whose filters are neither ready nor being made."""
        wanted, newest = set(methods), self.ordered[0] if self.ordered else None
        ready = {method for method, filter_made in self.ready.items() if filter_made.ordered is newest}
        settled = ready | self._coming.keys() | self.refused.keys()
        return [method for method in self.methods if method in wanted - settled]

    def collect(self) -> None:
        """Put filters that have become ready into use."""
        for method in [name for name, future in self._coming.items() if future.done()]:
            self._use(method, self._coming.pop(method).result)

    def forget(self) -> None:
        """Cancel all orders; filters that are ready stay in use."""
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()
        self.refused.clear()
        self.ordered = None

    def check(self, needed: Collection[str] | None = None) -> None:
        """Raise MetadataError if a method, one of ``needed`` or any, is impossible."""
        for method, reason in self.refused.items():
            if needed is None or method in needed:
                raise MetadataError(reason)

    @property
    def has_news(self) -> bool:
        """Whether filters are ready that are not in use yet."""
        return any(future.done() for future in self._coming.values())
