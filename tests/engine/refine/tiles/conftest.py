"""Tiles of the small simulated scan, processed by threads of the test."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tiles.exchange import Exchange
from ptylive.engine.refine.tiles.links import ThreadLinks
from ptylive.engine.refine.tiles.tile_objective import TileObjective
from ptylive.engine.refine.tiles.tile_part import tiles_of
from ptylive.engine.refine.tiles.tile_vector import layout_of, part_of_vector
from ptylive.schema.preset import Preset

PRESET = {"window_px": 24, "probe_modes": 2, "batch_size": 24, "phase_deviation": False}


@pytest.fixture(scope="session")
def problem(simulated):
    return prepare(simulated.dataset, Preset(**PRESET), None)


@pytest.fixture(scope="session")
def with_others(simulated):
    """The problem with quantities for each pattern and for all patterns, and a prior."""
    settings = {"update_probe_pos": True, "position_prior_A": 0.1, "update_aberrations": True}
    preset = Preset(**PRESET, update_beam_current=True, update_static_background=True, **settings)
    return prepare(simulated.dataset, preset, None)


def in_threads(functions):
    """Run functions that wait for each other in threads and return their results; raise the first exception of any."""
    results, errors = [None] * len(functions), []

    def call(number):
        try:
            results[number] = functions[number]()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "tiles wait for each other"
    if errors:
        raise errors[0]
    return results


def cut_up(problem, tiles, dtype="complex128", **changes):
    """Make an objective for each tile of a problem, each with its patterns on a separate backend."""
    links, layout, found = ThreadLinks(tiles), problem.layout, []
    for tile in tiles_of(problem, tiles):
        here = layout_of(layout, tile)
        mine = problem.multislice.part(tile.patterns)
        mine = replace(mine, object_shape=here.object_shape, corners=mine.corners - np.array([tile.rows[0], 0]))
        backend = GeneralMultislice(mine, np, dtype, "reference")
        own = Objective(backend, here, mine.count)
        exchange = Exchange(tile, links.of(tile.number))
        found.append(TileObjective(own, tile, exchange, problem.multislice.count, **changes))
    return found


@pytest.fixture
def cut():
    """The helper functions."""
    return SimpleNamespace(up=cut_up, together=in_threads, part=part_of_vector)
