"""A single tile: it reports its progress, keeps states to continue from, and ends when requested."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.run.course import CoursePlan
from ptylive.engine.refine.tiles.links import ThreadLinks
from ptylive.engine.refine.tiles.tile_part import part_of, tiles_of
from ptylive.engine.refine.tiles.tile_run import TileRun, log_of_plain, state_of, vector_and_gradient
from ptylive.schema.preset import Preset


@pytest.fixture
def part(problem):
    preset = Preset(window_px=24, probe_modes=2, batch_size=24, sweeps=2, epoch_max=4)
    plan = CoursePlan(preset.solver, 2, 0, 4, 24, 0.5, 0.1, 0.1, 0)
    return part_of(problem, tiles_of(problem, 1)[0], plan, preset.refined, ())


def run_of(part, **settings):
    return TileRun(part, ThreadLinks(1).of(0), backend="cpu", **settings)


def test_a_run_ends_with_a_state_that_is_kept(part):
    heard = []
    run = run_of(part)
    run.run(heard.append)
    assert [message["kind"] for message in heard[-2:]] == ["kept", "ended"]
    ended = heard[-1]
    assert (ended["stopped"], ended["wrong"]) == (False, "")
    state, log = state_of(run.kept(heard[-2]["serial"]))
    assert log.phases == ("sweep", "sweep", "lbfgs", "lbfgs")
    assert log.losses[-1] < log.losses[0]
    vector, gradient = vector_and_gradient(run.kept(heard[-2]["serial"]))
    assert (vector == state.vector).all()
    assert gradient.shape == vector.shape
    progress = [message for message in heard if message["kind"] == "progress"]
    assert log_of_plain(progress[-1]["log"]) == log


def test_going_on_from_any_kept_state_repeats_the_numbers(part):
    heard, kept = [], {}
    run = run_of(part, keep_s=0.0)

    def hear(message):
        heard.append(message)
        if message["kind"] == "kept":
            kept[message["serial"]] = run.kept(message["serial"])

    run.run(hear)
    last = vector_and_gradient(kept[max(kept)])[0]
    assert len(kept) > 8
    for serial in (1, 4, max(kept) - 1):
        again = []
        other = run_of(part)
        other.run(again.append, kept[serial])
        assert (vector_and_gradient(other.kept(again[-2]["serial"]))[0] == last).all()


def test_only_the_last_states_are_kept(part):
    run = run_of(part, keep_s=0.0)
    run.run(lambda message: None)
    with pytest.raises(LookupError):
        run.kept(1)


def test_a_run_that_is_asked_to_stop_keeps_what_it_has(part):
    heard = []
    run = run_of(part)
    run.stop()
    run.run(heard.append)
    assert heard[-1]["stopped"]
    assert state_of(run.kept(1))[0].batch == 1


def test_a_run_that_nobody_wants_any_more_ends(part):
    heard = []
    run = run_of(part)
    run.end()
    thread = threading.Thread(target=run.run, args=(heard.append,), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert heard[-1] == {"kind": "lost", "message": "no longer wanted"}


def test_what_goes_wrong_is_told(part):
    heard = []
    weights = np.full_like(part.multislice.weights, np.nan)
    run_of(replace(part, multislice=replace(part.multislice, weights=weights))).run(heard.append)
    assert heard[-1]["wrong"] or heard[-1]["kind"] == "failed"
    heard = []
    TileRun(part, ThreadLinks(1).of(0), backend="nonsense").run(heard.append)
    assert heard[-1] == {"kind": "failed", "message": "unknown backend 'nonsense': use auto, cpu or gpu"}
