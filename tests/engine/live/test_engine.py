"""One scan through the live engine: any arrival order gives the result of an offline run."""

from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import MAP_ROUNDING
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.imaging.filters import Filter
from ptylive.engine.imaging.virtual_detectors import DetectorBank, parse_detectors
from ptylive.engine.live import fit_times
from ptylive.engine.live.engine import LiveEngine, reconstruct
from ptylive.engine.live.reading import mean_frame
from ptylive.schema import EventBatch, FrameBatch, MetadataError, Origin
from ptylive.schema.metadata import overlay
from ptylive.streamer.storage.events import events_in

LIVE = {"bf", "abf", "adf", "com_row", "com_col", "idpc", "tcbf", "obf", "wdd_phase", "wdd_amplitude"}
MEASURED = {"idpc", "obf", "tcbf", "wdd_phase", "wdd_amplitude", "dpc_iterative", "ssb", "ssb_amplitude"}
MAPS = LIVE | MEASURED | {f"{name}_deviation" for name in MEASURED}


@pytest.fixture(scope="module")
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.05)
    rng = np.random.default_rng(0)
    made.patterns = rng.poisson(made.patterns * 20000).astype(np.float32)
    return made


def by_name(rendering):
    return {m.name: m.data for m in rendering.maps}


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, data in expected.items():
        assert np.abs(found[name] - data).max() <= MAP_ROUNDING * np.abs(data).max(), name


def test_offline_makes_every_map(scan):
    engine, rendering = reconstruct(scan.header(), lambda: batches(scan.patterns))
    assert set(by_name(rendering)) == MAPS
    assert not rendering.missing
    assert engine.coverage.all()
    obf = by_name(rendering)["obf"][::2, ::2]  # the defocus makes it twice as fine as the scan
    # found 0.988; frequencies beyond the aperture are lost
    assert correlation(obf[2:-2, 2:-2], scan.phase[2:-2, 2:-2]) > 0.95


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**31), lost=st.floats(0, 0.05), size=st.integers(1, 200))
def test_live_equals_offline_in_any_order(scan, seed, lost, size):
    rng = np.random.default_rng(seed)
    order = rng.permutation(scan.n**2)
    order = order[: int(len(order) * (1 - lost))]
    live = LiveEngine(scan.header())
    for batch in batches(scan.patterns, order, size):
        live.add(batch)
    arrived = np.sort(order)
    found = by_name(live.finish(lambda: batches(scan.patterns, arrived)))
    _, offline = reconstruct(scan.header(), lambda: batches(scan.patterns, arrived))
    assert_same(found, by_name(offline))


def test_maps_of_events_are_those_of_their_frames(scan):
    patterns = scan.patterns.astype("<u2")
    header = scan.header(lies_still=True)
    header = replace(header, detector=header.detector.model_copy(update={"dtype": "<u2"}))
    made = []
    for sparse in (False, True):
        live = LiveEngine(header)
        for batch in batches(patterns, size=100):
            live.add(EventBatch(batch.uid, batch.index, events_in(batch.frames)) if sparse else batch)
        made.append(by_name(live.finish(lambda: batches(patterns))))
    dense, from_events = made
    assert set(dense) == set(from_events) == MAPS
    for name, data in dense.items():
        assert np.abs(from_events[name] - data).max() <= 1e-5 * np.abs(data).max(), name


def test_passes_over_events_find_what_passes_over_frames_find(scan):
    patterns = scan.patterns.astype("<u2")
    header = scan.header()
    header = replace(header, detector=header.detector.model_copy(update={"dtype": "<u2", "saturation_value": 30.0}))
    bad = np.zeros(header.detector_shape, dtype=bool)
    bad[12, 12] = True
    header = replace(header, arrays={"bad_pixel_mask": bad})
    index = np.array([3, 0, -1 + len(patterns), 7])
    shown = [FrameBatch("u", index, patterns[index]), EventBatch("u", index, events_in(patterns[index]))]
    found = []
    for batch in shown:
        bank = DetectorBank(header)
        bank.use(parse_detectors([{"name": "a", "center_px": [12, 12], "inner_px": 0, "outer_px": 5}]))
        bank.add(batch)
        (live_map,) = bank.maps(4)
        mean = mean_frame(header, lambda batch=batch: [batch])
        found.append((live_map.data, mean.frame, mean.frames))
    for dense, sparse in zip(*found, strict=True):
        assert np.array_equal(dense, sparse)  # integers


def test_snake_and_flyback_land_where_raster_frames_do(scan):
    n, flyback = scan.n, 3
    frames = scan.patterns.reshape(n, n, n, n).copy()
    frames[1::2] = frames[1::2, ::-1]
    padded = np.concatenate([frames, np.full((n, flyback, n, n), 7, np.float32)], axis=1).reshape(-1, n, n)
    header = scan.header(frames=len(padded), pattern="snake", flyback_frames=flyback)
    methods = ("bf", "com", "tcbf", "ssb")
    _, rendering = reconstruct(header, lambda: batches(padded), methods)
    _, plain = reconstruct(scan.header(), lambda: batches(scan.patterns), methods)
    assert_same(by_name(rendering), by_name(plain))


def test_maps_grow_while_frames_arrive(scan):
    live = LiveEngine(scan.header())
    shares = []
    for batch in batches(scan.patterns, size=96):
        live.add(batch)
        rendering = live.refresh()
        shares.append(live.coverage.mean())
        assert set(by_name(rendering)) == LIVE
        assert all(np.isfinite(m.data).all() for m in rendering.maps)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_without_energy_only_the_phase_maps_are_missing(scan):
    header = scan.header()
    bare = type(header)(header.uid, header.series, header.frames, header.scan, detector=header.detector)
    _, rendering = reconstruct(bare, lambda: batches(scan.patterns))
    assert set(by_name(rendering)) == {"bf", "abf", "adf"}
    assert rendering.missing["obf"] == "needs energy_eV"
    assert "detector_pixel_invA" in rendering.missing["com"]


def test_configuring_energy_later_brings_the_phase_maps(scan):
    header = scan.header()
    bare = type(header)(header.uid, header.series, header.frames, header.scan, detector=header.detector)
    live = LiveEngine(bare)
    for batch in batches(scan.patterns):
        live.add(batch)
    live.configure(overlay(bare, {"energy_eV": 80e3, "convergence_semiangle_mrad": scan.semiangle_mrad, "C10": -60}))
    assert set(by_name(live.refresh())) == LIVE
    assert live.calibration.origin("C10") is Origin.GIVEN


def test_repeated_frames_are_averaged(scan):
    twice = np.repeat(scan.patterns, 2, axis=0)
    header = scan.header(lies_still=True, frames=len(twice), repeats=2)
    _, rendering = reconstruct(header, lambda: batches(twice))
    _, once = reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns))
    assert_same(by_name(rendering), by_name(once))


def test_unknown_method_is_named(scan):
    with pytest.raises(MetadataError, match="unknown method 'ssbb'"):
        LiveEngine(scan.header(), methods=["ssbb"])


class Later:
    """An executor that runs its jobs only when ``work`` is called."""

    def __init__(self):
        self.jobs = []

    def submit(self, function, *arguments):
        future = Future()
        self.jobs.append((future, function, arguments))
        return future

    def work(self):
        while self.jobs:
            future, function, arguments = self.jobs.pop(0)
            if future.set_running_or_notify_cancel():
                future.set_result(function(*arguments))


def test_frames_never_wait_for_a_calibration(scan, monkeypatch):
    monkeypatch.setattr(fit_times, "SOON_S", 0.0)
    later = Later()
    live = LiveEngine(scan.header(), background=later)
    for batch in batches(scan.patterns[: 10 * scan.n]):
        live.add(batch)
    assert not later.jobs  # not even a copy is made while frames are added
    assert {"bf", "com_row", "idpc"} <= set(by_name(live.refresh())) <= LIVE - {"obf", "tcbf", "wdd_phase"}
    assert [job[1].__name__ for job in later.jobs] == ["recalibrated"]
    assert not live.has_news
    later.work()
    assert live.has_news
    live.refresh()  # adopts the calibration and requests filters
    later.work()
    assert set(by_name(live.refresh())) == LIVE
    assert not live.has_news


def test_given_values_show_before_anything_is_estimated_again(scan):
    later = Later()
    live = LiveEngine(scan.header(), background=later)
    for batch in batches(scan.patterns):
        live.add(batch)
    for _ in range(3):
        later.work()
        live.refresh()
    live.configure(overlay(live.header, {"C10": -90.0}))
    assert live.calibration.get("C10") == -90.0
    assert live.calibration.get("beam_center_px") is not None
    assert "build" in [job[1].__name__ for job in later.jobs]
    later.work()
    assert by_name(live.refresh())["obf"].any()


def test_only_what_is_wanted_is_made(scan, monkeypatch):
    built = []
    build = Filter.build.__func__

    def noted(cls, name, *rest):
        built.append(name)
        return build(cls, name, *rest)

    monkeypatch.setattr(Filter, "build", classmethod(noted))
    live = LiveEngine(scan.header())
    live.want(["wdd_phase", "com_row", "coverage"])
    assert live.wanted == {"wdd", "com"}
    for batch in batches(scan.patterns):
        live.add(batch)
    assert set(by_name(live.refresh())) == {"wdd_phase", "wdd_amplitude", "com_row", "com_col"}
    assert built == ["wdd"]
    live.want(None)
    assert set(by_name(live.refresh())) == LIVE
    assert built == ["wdd", "obf", "tcbf"]
    live.want([])
    assert set(by_name(live.finish())) == MAPS


def test_results_that_somebody_looks_at_come_first(scan):
    live = LiveEngine(scan.header(), methods=["bf", "obf", "tcbf", "wdd"])
    for batch in batches(scan.patterns):
        live.add(batch)
    shown = []
    plain = by_name(live.finish(show=lambda part: shown.extend(m.name for m in part.maps)))
    measured = ["obf", "tcbf", "wdd_phase", "wdd_amplitude"]
    assert shown == ["bf", *(part for name in measured for part in (name, f"{name}_deviation"))]
    shown.clear()
    chosen = by_name(live.finish(show=lambda part: shown.extend(m.name for m in part.maps), shown={"wdd_phase"}))
    assert [name for name in shown if not name.endswith("_deviation")][:4] == [
        "bf",
        "wdd_phase",
        "wdd_amplitude",
        "obf",
    ]
    assert_same(chosen, plain)


def test_a_finished_scan_shows_given_values_before_it_is_fitted_again(scan):
    live = LiveEngine(scan.header(), methods=["bf", "com", "obf"])
    for batch in batches(scan.patterns):
        live.add(batch)
    live.finish()
    live.header = live.store.header = overlay(live.header, {"C10": -90.0})
    shown = []
    final = by_name(live.finish(show=lambda part: shown.extend((m.name, m.settings.get("C10")) for m in part.maps)))
    assert [name for name, _ in shown] == ["bf", "com_row", "com_col", "obf"] * 2 + ["obf_deviation"]
    assert [C10 for name, C10 in shown if name == "obf"] == [-90.0, -90.0]
    _, offline = reconstruct(live.header, lambda: batches(scan.patterns), methods=["bf", "com", "obf"])
    assert_same(final, by_name(offline))
