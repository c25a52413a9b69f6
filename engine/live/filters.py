"""The maps that are filters, and the making of their filters: one after the other, each used as soon as it is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Protocol

from ptylive.engine.live.bank import Picture, Spectra
from ptylive.engine.live.maps.obf import OptimumBrightField
from ptylive.engine.live.maps.ssb import SingleSideband
from ptylive.engine.live.maps.tcbf import TiltCorrected
from ptylive.engine.live.maps.wdd import WignerDeconvolution
from ptylive.engine.live.setting import Setting
from ptylive.schema.model import DoubleArray


class LinearMap(Protocol):
    """Filters of one method, ready to be applied."""

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """The maps of this method from the transformed coefficients."""
        ...


BUILDERS: dict[str, Callable[[Setting, DoubleArray], LinearMap]] = {
    "obf": OptimumBrightField.build,
    "tcbf": TiltCorrected.build,
    "wdd": WignerDeconvolution.build,
    "ssb": SingleSideband.build,
}
"""Method -> what makes its filters, quickest first. A new map is a new file in `maps` and a line here."""


@dataclass(frozen=True, eq=False)
class Filter:
    """Filters of one method and the setting they were made for."""

    setting: Setting
    linear_map: LinearMap

    @classmethod
    def build(cls, method: str, setting: Setting, mean: DoubleArray) -> Filter:
        """Make the filters; ``mean`` (bins,) mean coefficients of patterns of unit sum."""
        return cls(setting, BUILDERS[method](setting, mean))


@dataclass(eq=False)
class FilterDesk:
    """Filters in use, and those being made for a newer setting.

    With an executor they are made in the background, and the old ones serve until the new ones are ready.
    """

    methods: tuple[str, ...]
    background: Executor | None = None
    ready: dict[str, Filter] = field(default_factory=dict)
    _coming: dict[str, Future[Filter]] = field(default_factory=dict)

    def order(self, setting: Setting, mean: DoubleArray) -> None:
        """Ask for the filters of a setting; what was ordered before and not begun is forgotten."""
        for method in self.methods:
            if method in self._coming:
                self._coming.pop(method).cancel()
            if self.background is None:
                self.ready[method] = Filter.build(method, setting, mean)
            else:
                self._coming[method] = self.background.submit(Filter.build, method, setting, mean)

    def collect(self) -> None:
        """Put filters that have become ready into use."""
        for method in [name for name, future in self._coming.items() if future.done()]:
            self.ready[method] = self._coming.pop(method).result()
