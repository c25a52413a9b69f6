"""Threads as a crew: all tiles are processed, and all threads end with the block."""

import threading
import time

from ptylive.engine.refine.run.course import CoursePlan
from ptylive.engine.refine.tiles.crew import Threads
from ptylive.engine.refine.tiles.tile_part import part_of, tiles_of
from ptylive.schema.preset import Preset


def parts(problem, tiles, sweeps):
    preset = Preset(window_px=24)
    plan = CoursePlan(preset.solver, sweeps, 0, sweeps, 24, 0.5, 0.1, 0.0, 0)
    cut = tiles_of(problem, tiles)
    return lambda tile: part_of(problem, cut[tile], plan, preset.refined, ()).to_bytes()


def until(crew, enough):
    heard = []
    give_up = time.monotonic() + 60
    while not enough(heard) and time.monotonic() < give_up:
        heard += crew.heard()
        time.sleep(crew.poll_s)
    return heard


def running():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tile ")]


def test_all_tiles_come_to_their_end(problem):
    with Threads(3).crew(parts(problem, 3, sweeps=1), None) as crew:
        heard = until(crew, lambda said: sum(message["kind"] == "ended" for _, message in said) == 3)
        assert {tile for tile, message in heard if message["kind"] == "kept"} == {0, 1, 2}
        kept = [crew.kept(tile, 1) for tile in range(3)]
    with Threads(3).crew(parts(problem, 3, sweeps=1), kept.__getitem__) as crew:
        again = until(crew, lambda said: sum(message["kind"] == "ended" for _, message in said) == 3)
        assert not [message for _, message in again if message["kind"] == "progress"]  # nothing was left to do


def test_leaving_ends_tiles_that_wait_for_each_other(problem):
    with Threads(2).crew(parts(problem, 2, sweeps=1000), None) as crew:
        until(crew, bool)
        assert len(running()) == 2
    assert not running()


def test_one_that_is_asked_to_stop_stops_all(problem):
    with Threads(2).crew(parts(problem, 2, sweeps=1000), None) as crew:
        crew.stop()
        heard = until(crew, lambda said: sum(message["kind"] == "ended" for _, message in said) == 2)
    assert all(message["stopped"] for _, message in heard if message["kind"] == "ended")
