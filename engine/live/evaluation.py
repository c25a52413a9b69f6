"""Maps of a scan computed on the chosen device, and on the CPU as soon as that device fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scipy import fft

from ptylive.engine.backend.imaging.bank import CompiledContraction, Contraction
from ptylive.engine.backend.imaging.bank_arrays import ArrayContraction
from ptylive.engine.backend.imaging.open import MapDevice
from ptylive.engine.imaging.accumulation.device_rows import DeviceRows
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.imaging.filters import Filter
from ptylive.engine.imaging.instant import MapChoices
from ptylive.engine.imaging.render import Rendering, render
from ptylive.engine.imaging.strength.linearity import KeptStrength
from ptylive.engine.memory import Scratch
from ptylive.schema import Calibration

log = logging.getLogger(__name__)


class MapEvaluation:
    """Transforms and specimen strength, kept between refreshes, and the contraction with filters.

    ``pool`` shares the CPU work; ``scratch``: for transforms that do not fit in memory.
    """

    rows: RowTransforms
    contraction: Contraction

    def __init__(self, device: MapDevice, pool: ThreadPool, scratch: Scratch) -> None:
        self.device = device
        self._pool: ThreadPool | None = pool
        self._scratch = scratch
        self._placed = False
        self._begin()

    def _begin(self) -> None:
        if self.device.arrays is None:
            self.rows, self.contraction = RowTransforms(self._pool, self._scratch), CompiledContraction(self._pool)
        else:
            self.rows, self.contraction = DeviceRows(self.device.arrays), ArrayContraction(self.device.arrays)
        self._strength = KeptStrength()

    def start_afresh(self) -> None:
        """Discard everything that depends on the order of frames; from now on the pool belongs to the next scan."""
        self._pool = None
        self._begin()

    def leave(self, store: Store) -> None:
        """Keep nothing on a GPU: the scan is done, and others need its memory."""
        self.start_afresh()
        store.leave_device()
        if self.device.arrays is not None:
            self.device.arrays.release()

    def render(
        self,
        store: Store,
        calibration: Calibration,
        filters: Mapping[str, Filter],
        methods: Iterable[str],
        choices: MapChoices,
    ) -> Rendering:
        """See :func:`ptylive.engine.imaging.render.render`."""
        self._placed = choices.placement is not None
        with fft.set_workers(1 if self._pool is None else self._pool.count):
            choices = replace(choices, strength=self._strength)
            return self._rendered(store, calibration, filters, tuple(methods), choices)

    def _rendered(
        self,
        store: Store,
        calibration: Calibration,
        filters: Mapping[str, Filter],
        wanted: tuple[str, ...],
        choices: MapChoices,
    ) -> Rendering:
        arrays = self.device.arrays
        if arrays is not None:
            try:
                return render(store, calibration, filters, wanted, self.rows, choices, self.contraction)
            except arrays.failures as error:
                self.device = self.device.given_up(error)
                log.warning("maps are made on the CPU from now on: %s", self.device.why)
                self._begin()
        return render(store, calibration, filters, wanted, self.rows, choices, self.contraction)

    @property
    def words(self) -> dict[str, str]:
        """Device that transforms coefficients and contracts them with filters, and why not the GPU."""
        words = self.device.words
        off_grid = self._placed and self.device.arrays is not None
        return {"transforms": "cpu (points off the grid)" if off_grid else words, "filters": words}


def backend_of(computed_on: Mapping[str, str]) -> str:
    """Return ``gpu`` if a GPU took any part in the computation, and ``cpu`` otherwise."""
    return "gpu" if any(words.startswith("gpu") for words in computed_on.values()) else "cpu"
