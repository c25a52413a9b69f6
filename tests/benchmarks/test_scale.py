"""Sizes in the estimate of large refinements match what tiles hold and send, and its table is the documented one."""

import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import Case, Machine, cost, short, table, time_of
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.problem.strategy import choose
from ptylive.engine.refine.tiles.cutting import cut
from ptylive.engine.refine.tiles.exchange import REQUESTS, Exchange
from ptylive.engine.refine.tiles.links import ThreadLinks
from ptylive.schema.preset import Preset

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
SIDE, CASE = 128, Case()


def tiles(workers):
    first_rows = np.repeat(4 * np.arange(SIDE), SIDE)
    return cut(first_rows, CASE.window, 4 * SIDE + CASE.window, workers)


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16, 32])
def test_rows_that_are_given_and_held_are_those_of_tiles(workers):
    columns = 4 * SIDE + CASE.window
    found, expected = tiles(workers), cost(SIDE**2, workers)
    given = max(sum(last - first for _, (first, last) in tile.given) for tile in found)
    # up to one row of the scan more or less at each border
    reach = sum(1 for _ in found[len(found) // 2].given)
    assert abs(given * columns * 2 * 4 - expected.seam_B) <= max(1, reach) * 4 * columns * 2 * 4
    held = max(tile.rows[1] - tile.rows[0] for tile in found)
    assert abs(held * columns * 4 * 30 - expected.object_B) <= 4 * columns * 4 * 30


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_bytes_of_the_probe_are_those_that_are_sent(workers):
    links = ThreadLinks(workers)
    talking = [Exchange(tile, links.of(tile.number)) for tile in tiles(workers)]
    probe = np.zeros(2 * CASE.modes * CASE.window**2, np.float32)
    threads = [threading.Thread(target=one.total, args=([0.0], [0.0], probe)) for one in talking]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    rounds = workers.bit_length() - 1
    assert [one.sent_bytes - rounds * 8 * (2 + REQUESTS) for one in talking] == [cost(1e6, workers).probe_B] * workers


def test_times_add_up():
    free = Machine(memory_B_s=1e30, network_B_s=1e30, latency_s=0.0)
    assert cost(1e6, 8, machine=free).sweep_s == pytest.approx(1e6 / 8 * free.pattern_s)
    assert cost(1e6, 8, machine=free).epoch_s == pytest.approx(1.2e6 / 8 * free.pattern_s)
    here, doubled = cost(1e6, 8, Case(batch=128)), cost(1e6, 8, Case(batch=256))
    assert here.sweep_s - doubled.sweep_s == pytest.approx(1e6 / 256 * here.batch_s)


@pytest.mark.parametrize("patterns", [1000, 65536, 10**6])
def test_batches_are_those_of_auto(patterns):
    preset = Preset()
    statistics = PatternStatistics(1.6e4, 32, 0.05, 1e5, 0.0, patterns=patterns)
    groups = preset.object, preset.probe, preset.loss, preset.solver, preset.start
    assert CASE.batch_of(patterns) == choose(*groups, statistics, has_start=False).batch_size


def test_numbers_are_short():
    assert [short(number) for number in (0, 0.0123, 1.26, 99.4, 1234.5)] == ["0", "0.012", "1.3", "99", "1234"]
    assert [time_of(seconds) for seconds in (0.05, 3, 150, 8000, 2e5)] == ["50 ms", "3 s", "2.5 min", "2.2 h", "2.3 d"]


def test_the_table_is_the_documented_one():
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    for line in table():
        assert line in lines
