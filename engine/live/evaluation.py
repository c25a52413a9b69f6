"""Maps of a scan on the device that was chosen, and on the processor as soon as that one fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

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


class Evaluation:
    """Transforms and the specimen's strength, kept between refreshes, and the filters' contraction.

    ``pool`` shares the processor's work; ``scratch``: for transforms that do not fit the memory.
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
        """Keep no trace of how the frames came; the pool belongs to the next scan from now on."""
        self._pool = None
        self._begin()

    def leave(self, store: Store) -> None:
        """Keep nothing on a GPU: the scan is done, and others want its memory."""
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
        choices = replace(choices, strength=self._strength)
        wanted, arrays = tuple(methods), self.device.arrays
        if arrays is not None:
            try:
                return render(store, calibration, filters, wanted, self.rows, choices, self.contraction)
            except arrays.failures as error:
                self.device = self.device.given_up(error)
                log.warning("maps are made on the processor from here on: %s", self.device.why)
                self._begin()
        return render(store, calibration, filters, wanted, self.rows, choices, self.contraction)

    @property
    def words(self) -> dict[str, str]:
        """Which device transforms the coefficients and contracts them with filters, and why not the GPU."""
        words = self.device.words
        off_grid = self._placed and self.device.arrays is not None
        return {"transforms": "cpu (points off the grid)" if off_grid else words, "filters": words}


def backend_of(computed_on: Mapping[str, str]) -> str:
    """``gpu`` where one took any part in what was computed, else ``cpu``."""
    return "gpu" if any(words.startswith("gpu") for words in computed_on.values()) else "cpu"
