"""The live engine: frames in, maps out, calibrating itself as rows arrive; and its offline counterpart.

One scan, one engine. ``add`` is cheap and called for every batch; ``refresh`` makes the pictures and is called at the
rate of the display; ``finish`` fits everything afresh on all frames that arrived, as an offline run does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np

from ptylive.engine.backend.imaging.open import PROCESSOR, MapDevice
from ptylive.engine.calibrate.bad_pixels import BadPixels
from ptylive.engine.calibrate.detector import with_given_values
from ptylive.engine.descan import descan_of, given_descan, header_at_rest, moved_back
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.imaging.bank import mean_bins
from ptylive.engine.imaging.filters import BUILDERS
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.instant import MapChoices
from ptylive.engine.imaging.placement import Placement, determining_values, given_placement
from ptylive.engine.imaging.render import AFTERWARDS, METHODS, Rendering, check_methods, methods_for
from ptylive.engine.live import reading
from ptylive.engine.live.aligned_images import with_images
from ptylive.engine.live.evaluation import MapEvaluation
from ptylive.engine.live.fit_times import FitTimes
from ptylive.engine.live.plan import ReductionPlan, filter_stock, left_out
from ptylive.engine.live.reading import FrameSource, Workspace
from ptylive.engine.memory import Scratch
from ptylive.schema import Calibration, FrameBatch, MetadataError, ScanHeader
from ptylive.schema.model import Array, BoolArray, DoubleArray

log = logging.getLogger(__name__)

START_FRAMES = 64
"""Number of raw frames whose mean locates the disc before the first frame is reduced."""
AHEAD_POINTS = 512 * 512
"""Points of the largest scan for which filters of two methods may be in memory at once while results are made."""

Show = Callable[[Rendering], None]


class LiveEngine:
    """Maps of one scan while it runs.

    ``background`` calibrates and builds filters concurrently with the arrival of frames; without it both are done
    synchronously. ``pool`` shares the work of reducing frames and, while the scan runs, of making maps. ``scratch``:
    for arrays that do not fit in memory. ``device``: see
    :func:`ptylive.engine.backend.imaging.open.open_map_device`. ``settings``: of maps, validated.
    """

    def __init__(
        self,
        header: ScanHeader,
        *,
        methods: Iterable[str] = METHODS,
        background: Executor | None = None,
        pool: ThreadPool | None = None,
        scratch: Scratch | None = None,
        device: MapDevice = PROCESSOR,
        settings: Mapping[str, float] | None = None,
    ) -> None:
        self.header, self.settings = header, settings or {}
        wanted = check_methods(methods)
        self.impossible = left_out(header, wanted)
        self.methods = tuple(name for name in wanted if name not in self.impossible)
        self.calibration: Calibration | None = None
        self.missing: dict[str, str] = {}
        self.store: Store | None = None
        self._last_frame: Array | None = None
        self.live_methods = tuple(name for name in self.methods if name not in AFTERWARDS)
        self.filters = filter_stock(header, self.live_methods, background)
        self._wanted = frozenset(self.live_methods)
        self._pool, self._scratch = pool or ThreadPool(), scratch or Scratch()
        self.device = device
        self.evaluation = MapEvaluation(device, self._pool, self._scratch)
        self._positions, self._placement = given_placement(header, 0.0)
        self._waiting: list[FrameBatch] = []
        self._fit_times = FitTimes() if background is not None else FitTimes(clock=None)
        self._refitting: tuple[ScanHeader, Future[Calibration]] | None = None
        self._concluded = self._descan_reported = False
        self._with_other_settings: frozenset[str] = frozenset()
        self.bad_pixels = BadPixels()

    def add(self, batch: FrameBatch) -> None:
        """Add a batch of frames, pixels or coefficients; its memory may be reused afterwards."""
        if not len(batch.index):
            return
        self._fit_times.begin()
        self._last_frame = np.array(batch.frame(int(batch.index.argmax())))
        if self.store is not None:
            self.store.add(batch)
            return
        self._waiting.append(FrameBatch(batch.uid, np.array(batch.index), np.array(batch.frames)))
        enough = min(START_FRAMES, self.header.frames) if self.header.basis.is_raw else 1
        if sum(len(b.index) for b in self._waiting) >= enough:
            self._begin()

    def _begin(self) -> None:
        """Locate the disc on the frames held back so far, then reduce them."""
        batches, self._waiting = self._waiting, []
        if not batches:
            return
        frames = self.header.readout.counts(np.concatenate([waiting.frames for waiting in batches]))[0]
        mean = np.mean(frames, axis=0, dtype=float)
        self.header = self.bad_pixels.look(self.header, mean, len(frames), dead=False)
        descan = given_descan(self.header)
        if descan is not None:
            index = np.concatenate([waiting.index for waiting in batches])
            mean = np.mean(moved_back(self.header, descan, index, frames), axis=0, dtype=float)
        plan = ReductionPlan.of(header_at_rest(self.header, descan), mean)
        self.store = Store(self.header, plan.reduction, self._pool, self._scratch, self.device, descan)
        for batch in batches:
            self.store.add(batch)
        self.calibration = self.bad_pixels.noted(plan.calibration)

    @property
    def coverage(self) -> BoolArray:
        """Visited scan points (rows, cols)."""
        if self.store is None:
            return np.zeros(self.header.scan.require_shape(), dtype=bool)
        return self.store.visited

    @property
    def last_pattern(self) -> DoubleArray | None:
        """Newest pattern, (Qy, Qx), recorded orientation; for coefficients, what they show of it."""
        if self.store is None or self._last_frame is None:
            return None
        return self.store.reduction.pattern(self.header.readout.counts(self._last_frame)[0])

    @property
    def mean_pattern(self) -> DoubleArray | None:
        """Mean pattern so far, (Qy, Qx), recorded orientation."""
        return None if self.store is None else self.store.mean_pattern

    def recent_mean(self, patience_s: float) -> DoubleArray | None:
        """Return the mean pattern (Qy, Qx), or a slightly earlier one: callers wait no longer than ``patience_s``."""
        store = self.store
        if store is None:
            return None
        total, frames = store.recent_sum(patience_s)
        return store.reduction.pattern(total / frames) if frames else None

    def adopt(self, header: ScanHeader) -> None:
        """Adopt values set by a user for all maps made from now on, including values that place the scan points."""
        previous, self.header = self.header.scan, self.bad_pixels.masked(header)
        if self.store is not None:
            self.store.header = self.header
        if determining_values(previous) != determining_values(header.scan):
            rotation = 0.0 if self.calibration is None else self.calibration.rotation_deg
            self._positions, self._placement = given_placement(self.header, rotation)

    def configure(self, header: ScanHeader) -> None:
        """Adopt values set by a user: the scan stays, calibration and filters are made again.

        With a background the given values are used at once, together with the earlier estimates; quantities that depend
        on them are estimated again afterwards.
        """
        self.adopt(header)
        if self.store is None or self.calibration is None:
            return
        if self.filters.background is not None:
            self._adopt(self._with_given_values(self.calibration, self.store))
            self.filters.need(self._wanted)
        self._refit()

    def _with_given_values(self, previous: Calibration, store: Store) -> Calibration:
        return with_given_values(header_at_rest(self.header, store.descan), store.mean_pattern, previous)

    def use_settings(self, settings: Mapping[str, float]) -> None:
        """Use other map settings from now on, validated by :func:`ptylive.engine.imaging.registry.read_settings`."""
        self.settings, self._with_other_settings = dict(settings), frozenset(self.live_methods)
        if self.calibration is not None:
            self._adopt(self.calibration)

    def want(self, maps: Iterable[str] | None) -> None:
        """Name the maps being viewed: all others are not refreshed until the scan ends. None: all maps."""
        chosen = self.live_methods if maps is None else methods_for(maps)
        self._wanted = frozenset(self.live_methods).intersection(chosen)

    def place(self, positions_A: Array | None) -> None:
        """Set the positions of the scan points: (points, 2), detector frame, relative to the first nominal point.

        Given with a list scan, measured (drift), or refined; maps made from now on use them. None: the regular grid.
        Raises ValueError if their number is not that of the scan points.
        """
        self._positions = None if positions_A is None else np.asarray(positions_A, dtype=float)
        self._placement = None
        if self._positions is not None:
            rotation = 0.0 if self.calibration is None else self.calibration.rotation_deg
            self._placement = Placement.of(self._positions, self.header.scan, rotation)
        if self.calibration is not None:
            self._adopt(self.calibration)

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of coefficients and their transforms, and how many of these bytes lie in files."""
        if self.store is None:
            return 0, 0
        store, rows = self.store, self.evaluation.rows
        return store.bytes + rows.bytes, store.bytes_in_files + rows.bytes_in_files

    @property
    def computed_on(self) -> dict[str, str]:
        """Device that performed each step, in words: ``reduction``, ``transforms``, ``filters``."""
        reduction = self.device.words if self.store is None else self.store.reduced_on
        return {"reduction": reduction, **self.evaluation.words}

    @property
    def wanted(self) -> frozenset[str]:
        """Methods evaluated by a refresh."""
        return self._wanted

    @property
    def filter_order(self) -> tuple[ImagingConditions, DoubleArray] | None:
        """What filters are made for: the conditions, and the mean coefficients (bins,) of patterns of unit sum."""
        return self.filters.ordered

    @property
    def has_news(self) -> bool:
        """Whether there is a calibration, filter or setting that no refresh has shown yet."""
        if self._with_other_settings & self._wanted or self.filters.has_news:
            return True
        return self._refitting is not None and self._refitting[1].done()

    def refresh(self, methods: Iterable[str] | None = None, *, deviations: bool = False) -> Rendering:
        """Make maps of all data so far with the newest filters that are ready; by default those of wanted methods."""
        if self.store is None or self.calibration is None:
            return Rendering()
        self.filters.collect()
        self._refit_when_due()
        wanted = [name for name in methods or self._wanted if name not in self.impossible]
        self._with_other_settings -= set(wanted)
        self.filters.need(wanted)
        self.filters.collect()
        inputs = (self.store, self.calibration, self.filters.ready, wanted)
        rendering = self.evaluation.render(*inputs, MapChoices(self._placement, self.settings, deviations))
        rendering.missing.update({**self.missing, **self.impossible, **self.filters.refused, **self.filters.crowded})
        return rendering

    def finish(
        self,
        frames: FrameSource | None = None,
        show: Show = lambda _part: None,
        shown: Iterable[str] | None = None,
    ) -> Rendering:
        """Fit everything afresh on all frames that arrived and render it: the result of the session.

        ``frames`` yields the recorded frames again; it is read only if the disc, measured on the whole scan, has moved
        enough to change the reduction. Without it the initial reduction stays. ``show`` receives each part as soon as
        it is made, those being viewed (``shown``) first. If a scan is finished again because values were changed, maps
        with the given values and the earlier estimates come first.
        """
        workspace = Workspace(self._scratch, self.device)
        if self.store is None:
            self._begin()
        if self.store is None and frames is not None:  # the values given earlier did not allow a start
            self.store = reading.first_read(self.header, frames, self.bad_pixels, workspace)
        if self.store is None:
            return Rendering()
        self.header = self.store.header = reading.with_bad_pixels(self.header, self.store, frames, self.bad_pixels)
        if self._concluded and self.calibration is not None:
            self._adopt(self._with_given_values(self.calibration, self.store))
            self._render_groups(self._method_groups(shown)[:-1], show)
        self.store = reading.brought_to_rest(self.store, frames, workspace)
        header = header_at_rest(self.header, self.store.descan)
        plan = ReductionPlan.of_pattern(header, self.store.mean_pattern)
        if not plan.reduction.same_as(self.store.reduction):
            if frames is not None:
                self.store = reading.reduced_again(self.store, plan.reduction, frames, workspace)
            else:
                log.warning("there is no recording to read again: the maps keep the disc found in the first frames")
        return self.conclude(plan.calibration, show, shown)

    def conclude(
        self, calibration: Calibration, show: Show = lambda _part: None, shown: Iterable[str] | None = None
    ) -> Rendering:
        """Make the final calibration, then every map, each passed to ``show`` as soon as its filters are made."""
        assert self.store is not None  # noqa: S101  (callers made it)
        self._fit_times.end()
        self._refitting = None
        self.filters.forget()
        self.filters = filter_stock(self.header, self.methods)
        self.evaluation.start_afresh()
        self._adopt(reading.finally_calibrated(calibration, self.store))
        rendering = self._render_groups(self._method_groups(shown), show, deviations=True)
        self.evaluation.leave(self.store)
        self.live_methods, self._wanted = self.methods, frozenset(self.methods)
        self._concluded = True
        return rendering

    def _method_groups(self, shown: Iterable[str] | None) -> list[list[str]]:
        """Return methods in the order of the final rendering, grouped by those made together; the slow ones last."""
        visible = frozenset(self.methods if shown is None else methods_for(shown))
        filtered = [[name] for name in BUILDERS if name in self.methods]
        filtered.sort(key=visible.isdisjoint)
        quick = [name for name in self.methods if name not in (*BUILDERS, *AFTERWARDS)]
        last = [name for name in self.methods if name in AFTERWARDS and name not in BUILDERS]
        return [quick, *filtered, last]

    def _render_groups(self, parts: list[list[str]], show: Show, *, deviations: bool = False) -> Rendering:
        """Render part after part; while one is rendered, a second thread makes the filters of the next."""
        combined = Rendering(missing=dict(self.impossible))
        with ThreadPoolExecutor(1, "filters ahead") as helper:
            for part, next_part in zip(parts, [*parts[1:], []], strict=True):
                if self.coverage.size <= AHEAD_POINTS:
                    self.filters.make_ahead(next_part, helper)
                rendering = self.refresh(part, deviations=deviations) if part else Rendering()
                combined.maps.extend(rendering.maps)
                combined.missing.update(rendering.missing)
                show(rendering)
                self.filters.ready.clear()  # the next method needs the memory more than anything needs these filters
        return combined

    def _refit_when_due(self) -> None:
        """Adopt a calibration that is ready; start another one when enough rows have arrived."""
        if self._refitting is not None and self._refitting[1].done():
            (header, fit), self._refitting = self._refitting, None
            if header is self.header:
                self._adopt(fit.result())
        if self._refitting is None and self._fit_times.due(float(self.coverage.mean())):
            self._refit()

    def _refit(self) -> None:
        """Calibrate on the frames that have arrived: on a copy in the background, if there is one."""
        if self.store is None:
            return
        if self.filters.background is None:
            self._adopt(reading.recalibrated(self.header, self.store))
        else:
            self._fit_times.started()
            fit = self.filters.background.submit(reading.recalibrated, self.header, self.store.snapshot())
            fit.add_done_callback(lambda _fit: self._fit_times.ended())
            self._refitting = (self.header, fit)

    def _adopt(self, calibration: Calibration) -> None:
        """Make a calibration the current one and order its filters.

        While the scan runs, coefficients refer to the disc found at its start, so the filters must describe that disc.
        """
        self.calibration = calibration = self.bad_pixels.noted(calibration)
        if self.store is not None and not (self._descan_reported or self._concluded):
            self._descan_reported = reading.report_descan(self.store, descan_of(calibration))
        if self._placement is not None and self._positions is not None:
            self._placement = self._placement.turned(self._positions, calibration.rotation_deg)
        self.missing = {}
        if not self.filters.methods or self.store is None:
            return
        try:
            conditions = self._conditions()
        except MetadataError as error:
            reason = str(error).removeprefix("phase imaging ")
            self.missing = dict.fromkeys(self.filters.methods, reason)
            return
        self.filters.order(conditions, mean_bins(self.store))

    def _conditions(self) -> ImagingConditions:
        assert self.store is not None and self.calibration is not None  # noqa: S101
        self.store.check_counts("phase imaging")
        placement, shape = self._placement, self.header.scan.require_shape()
        if placement is None:
            step = self.calibration.require("scan_step_A", "phase imaging")
            step_A = (float(step[0]), float(step[1]))
        else:
            step_A = placement.step_A
        basis, detector = self.store.reduction.basis, self.header.detector_shape
        conditions = ImagingConditions.of(self.calibration, basis, detector, shape, step_A, self.settings)
        conditions = with_images(conditions, self.store, copied=self.filters.background is not None)
        return conditions if placement is None else conditions.placed(placement)


def reconstruct(
    header: ScanHeader,
    frames: FrameSource,
    methods: Iterable[str] = METHODS,
    device: MapDevice = PROCESSOR,
    settings: Mapping[str, float] | None = None,
    needed: Collection[str] | None = None,
) -> tuple[LiveEngine, Rendering]:
    """Run the live engine on a file: mean pattern, calibration, coefficients, maps.

    Reads the frames several times. Raises MetadataError for an impossible setting of a ``needed`` method (None: any).
    """
    engine, workspace = LiveEngine(header, methods=methods, device=device, settings=settings), Workspace(device=device)
    store = reading.first_read(header, frames, engine.bad_pixels, workspace)
    if store is None:
        return engine, Rendering()
    store = reading.brought_to_rest(store, frames, workspace)
    plan = ReductionPlan.of_pattern(header_at_rest(store.header, store.descan), store.mean_pattern)
    if not plan.reduction.same_as(store.reduction):
        store = reading.reduced_again(store, plan.reduction, frames, workspace)
    engine.store, engine.header = store, store.header
    rendering = engine.conclude(plan.calibration)
    engine.filters.check(needed)
    return engine, rendering
