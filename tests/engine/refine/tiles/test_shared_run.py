"""A refinement on several workers ends where one on a single machine does, even if workers are lost."""

from contextlib import contextmanager

import numpy as np
import pytest
from quick_first import quick_first
from shared_data import shared_data
from strict_device import device

from ptylive.engine.backend.multislice import gpu
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.run import convergence
from ptylive.engine.refine.tiles import shared_run
from ptylive.engine.refine.tiles.crew import CrewBusy, CrewLost, Threads
from ptylive.engine.refine.tiles.shared_run import Shared
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

PRESET = Preset(window_px=32, probe_modes=2, batch_size=24, sweeps=3, epoch_max=8, phase_deviation=False)
MEASURED = PRESET.model_copy(update={"phase_deviation": True})


def refined(dataset, preset=PRESET, workers=None, **settings):
    sharing = None if workers is None else Shared(Threads(workers) if isinstance(workers, int) else workers)
    return refine(dataset, preset, backend="cpu", sharing=sharing, **settings)


def alike(found, expected):
    """Correlation of the objects' phases, and the relative difference of the losses."""
    a, b = np.angle(found.object).ravel(), np.angle(expected.object).ravel()
    return np.corrcoef(a, b)[0, 1], abs(found.loss[-1] / expected.loss[-1] - 1)


@pytest.fixture(scope="module")
def single(small):
    return refined(small.dataset, MEASURED)


@pytest.mark.parametrize("workers", quick_first([3, 1, 2]))
def test_several_workers_end_where_one_machine_does(small, single, workers):
    found = refined(small.dataset, MEASURED, workers)
    correlation, apart = alike(found, single)
    assert correlation > 0.999999  # the same steps up to rounding
    assert apart < 1e-5
    assert found.phases == single.phases
    assert (found.state, found.message, found.reason) == ("done", single.message, single.reason)
    assert found.evaluations == pytest.approx(single.evaluations)
    assert found.phase_deviation.median_rad == pytest.approx(single.phase_deviation.median_rad, rel=1e-3)
    assert found.backend == f"{single.backend}, {workers} workers"
    assert found.convergence.falling == single.convergence.falling


@pytest.mark.parametrize(
    "settings",
    quick_first(
        [
            {"update_probe_pos": True, "update_static_background": True, "update_aberrations": True},
            {"num_slices": 3, "total_thickness_A": 30, "update_slice_distances": True, "update_beam_current": True},
            {"num_slices": 3, "total_thickness_A": 30, "weakly_damped_obj": True},
            {"num_slices": 2, "total_thickness_A": 20, "obj_modes": 2, "probe_sweeps": 1},
            {"early_stop": True, "phase_only_obj": False, "hist_length": 0},
            {"probe_part": "phase", "anchor": 0.0},
            {"update_probe_pos": True, "position_prior_A": 0.05, "update_beam_current": True, "update_probe": False},
            {"num_slices": 3, "total_thickness_A": 30, "update_thickness": True},
        ],
        2,
    ),
)
def test_other_models_end_there_too(small, settings):
    preset = Preset.from_mapping(
        {"window_px": 32, "probe_modes": 1, "batch_size": 36, "epoch_max": 5, "phase_deviation": False, **settings}
    )
    found, single = refined(small.dataset, preset, 2), refined(small.dataset, preset)
    correlation, apart = alike(found, single)
    # 5 epochs of the same steps, sums in single precision in another order
    assert correlation > 0.99999
    assert apart < 1e-4
    for name in ("positions_A", "beam_current", "background", "slice_distances_A", "aberrations_A"):
        values = getattr(single.refined, name)
        assert (getattr(found.refined, name) is None) == (values is None), name
        if values is not None:
            size = np.abs(values).max()
            np.testing.assert_allclose(getattr(found.refined, name), values, rtol=0, atol=1e-4 * size, err_msg=name)


@pytest.mark.slow
def test_an_open_end_holds_the_same_patterns_out_and_says_the_same(simulated, monkeypatch):
    monkeypatch.setattr(convergence, "LEAST_PATTERNS", 100)
    monkeypatch.setattr(convergence, "SHARE", 0.15)
    preset = Preset(window_px=32, probe_modes=1, batch_size=24, phase_deviation=False)
    expected, found = refined(simulated.dataset, preset), refined(simulated.dataset, preset, 3)
    assert expected.convergence.held_out == found.convergence.held_out == 21  # of 144
    assert len(found.loss) == len(expected.loss)
    assert found.convergence.fall == pytest.approx(expected.convergence.fall, abs=1e-6)
    correlation, apart = alike(found, expected)
    assert correlation > 0.99999
    assert apart < 1e-4


@pytest.mark.slow
def test_workers_with_devices_end_there_too(small, single, monkeypatch):
    """Tested on a stand-in that is as strict as cupy."""

    def arrays(problem):
        return GeneralMultislice(problem, device, "complex64", name="gpu")

    monkeypatch.setattr("ptylive.engine.backend.device.missing", lambda: "")
    monkeypatch.setattr(gpu, "too_small", lambda problem: "")
    monkeypatch.setattr(gpu, "opened", arrays)
    found = refined(small.dataset, workers=Threads(2, backend="gpu"))
    assert found.backend == "gpu, 2 workers"
    correlation, apart = alike(found, single)
    assert correlation > 0.999999
    assert apart < 1e-5


def test_a_run_that_was_stopped_goes_on_the_same_way(small, tmp_path):
    long = PRESET.model_copy(update={"epoch_max": 12})  # workers learn of a stop only after an epoch or two
    whole = refined(small.dataset, long, workers=2)
    told, place = [], tmp_path / "run.checkpoint"
    stopping = {"on_progress": told.append, "should_stop": lambda: len(told) > 2}
    part = refined(small.dataset, long, workers=2, checkpoint=place, **stopping)
    assert part.state == "stopped"
    table = tmp_path / "loss.csv"
    rest = refined(small.dataset, long, workers=2, checkpoint=place, resume=True, loss_table=table)
    assert (rest.state, rest.unchanged) == ("done", False)
    assert (rest.object == whole.object).all()
    assert refined(small.dataset, long, workers=2, checkpoint=place, resume=True).unchanged
    assert len(table.read_text().splitlines()) == 13
    with pytest.raises(RefinementError, match="belongs to a run with 2 workers"):
        refined(small.dataset, workers=3, checkpoint=place, resume=True)


class Mortal(Threads):
    """Threads of which one dies after a number of messages, repeatedly; optionally busy at first."""

    def __init__(self, tiles, deaths, messages=3, busy=0):
        super().__init__(tiles, keep_s=0.0)
        self.deaths, self.messages, self.busy, self.crews = deaths, messages, busy, 0

    @contextmanager
    def crew(self, part_of, kept):
        self.crews += 1
        if self.busy:
            self.busy -= 1
            raise CrewBusy("tcp://w:1 is busy")
        with super().crew(part_of, kept) as crew:
            whole, left = crew.heard, [self.messages]

            def heard():
                found = whole()
                left[0] -= sum(message["kind"] == "kept" for _, message in found)
                if self.deaths and left[0] <= 0:
                    self.deaths -= 1
                    raise CrewLost("tcp://w:1 has gone")
                return found

            crew.heard = heard
            yield crew


def test_workers_that_are_lost_cost_nothing_but_time(small, tmp_path):
    whole = refined(small.dataset, workers=2)
    mortal, said = Mortal(2, deaths=4, busy=2), []
    place = tmp_path / "run.checkpoint"
    warned = []

    def hear(progress):
        said.append(progress.message)
        warned.append(progress.warning)

    found = refined(small.dataset, workers=mortal, checkpoint=place, on_progress=hear)
    assert mortal.crews == 7
    assert (found.object == whole.object).all()
    assert (found.loss == whole.loss).all()
    assert sum("tcp://w:1 has gone" in words for words in said) == 4
    assert sum("tcp://w:1 has gone" in words for words in warned) == 4, "the command line shows warnings"
    assert sum("is busy" in words for words in said) == 2


def test_a_refinement_that_ends_all_its_workers_is_given_up(small, monkeypatch):
    monkeypatch.setattr(shared_run, "MOST_LOST", 3)
    mortal = Mortal(2, deaths=100, messages=0)
    with pytest.raises(RefinementError, match=r"workers were lost 3 times in a row, last error: tcp://w:1 has gone"):
        refined(small.dataset, workers=mortal)
    assert mortal.crews == 3


def test_what_a_tile_cannot_do_ends_the_run_with_its_words(small, monkeypatch):
    monkeypatch.setattr(
        "ptylive.engine.refine.tiles.tile_run.open_backend", lambda *_: (_ for _ in ()).throw(MemoryError)
    )
    with pytest.raises(RefinementError, match=r"worker [12] of 2: not enough memory for this tile"):
        refined(small.dataset, workers=2)


def test_a_full_disk_is_said(small, monkeypatch):
    said, full = [], OSError(28, "No space left on device")
    monkeypatch.setattr("ptylive.engine.refine.tiles.tile_sets.replacing", lambda path: (_ for _ in ()).throw(full))
    with pytest.raises(RefinementError, match="no state of the tiles could be saved"):
        workers = Mortal(2, deaths=0)
        refined(small.dataset, workers=workers, on_progress=lambda progress: said.append(progress.warning))
    assert any("could not be written: No space left on device" in words for words in said)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mos2_edge_80kV_defocus", {"num_slices": 1, "probe_modes": 4}),
        ("sto_10nm_200kV_defocus", {"num_slices": 10, "total_thickness_A": 100, "probe_modes": 4}),
    ],
)
def test_shared_scans_end_at_the_same_place(read_dataset, name, settings):
    dataset = read_dataset(shared_data(name))
    preset = Preset.from_mapping({"refine_drift": False, **settings})
    expected = refined(dataset, preset)
    for workers in (1, 2, 4):
        correlation, apart = alike(refined(dataset, preset, workers), expected)
        assert correlation >= 0.9999
        assert apart <= 1e-3
