"""What tiles do not support is refused before anything is done, in a line that names the setting."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.description import ForwardModel
from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.parameter_vector import Block, BlockName
from ptylive.engine.refine.parameters.terms import Anchor, Damping, PositionPrior
from ptylive.engine.refine.tiles.crew import Threads
from ptylive.engine.refine.tiles.possible import check_possible, check_problem
from ptylive.engine.refine.tiles.shared_run import Shared
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

REFUSED = {
    "slow_axis_reg_weight_positions": {"update_probe_pos": True, "slow_axis_reg_weight_positions": 1.0},
    "slow_axis_reg_weight_tilts": {"update_tilts": True, "slow_axis_reg_weight_tilts": 1.0},
    "source_blur_A": {"source_blur_A": 0.3},
    "probe_marker": {"probe_marker": (0, 1)},
    "method=dgp": {"method": "dgp"},
    "optimizer=pypty": {"optimizer": "pypty"},
    r"\[\[stage\]\]": {"stages": [{"num_slices": 1}, {"num_slices": 2, "total_thickness_A": 20}]},
    "a schedule of update_probe": {"update_probe": "epoch > 2"},
    "fly_scan_share": {"fly_scan_share": 1.0},
    "opr_components": {"opr_components": 2},
    "atv_weight": {"atv_weight": 1e-3},
    "a filter of object or probe": {"apply_gaussian_filter_px": 1.0},
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_preset_that_asks_for_more_is_refused(named):
    settings = dict(REFUSED[named])
    with pytest.raises(RefinementError, match=rf"cannot share a refinement with {named}"):
        check_possible(Preset.from_mapping(settings))


def test_what_tiles_can_do_passes(problem):
    for settings in (
        {},
        {"num_slices": 3, "total_thickness_A": 30},
        {"weakly_damped_obj": True},
        {"update_probe": False},
        {"update_probe_pos": True, "position_prior_A": 0.2},
        {"update_beam_current": True, "update_static_background": True},
        {"update_aberrations": True},
        {"update_tilts": True, "tilts_mrad": [[0, 0, 1, 1, 0, 0]], "propmethod": "yoshida"},
        {"update_detector_psf": True, "detector_psf_px": 0.5},
        {"upsample_pattern": 2},
        {"damping_cutoff_multislice": 0.6, "lazy_clean": True},
    ):
        check_possible(Preset.from_mapping(settings))
    check_problem(problem)
    check_problem(replace(problem, terms=(Damping(np.ones(3, np.float32)),)))


def test_what_was_laid_out_is_looked_at_too(problem):
    shifts = Block(BlockName.SHIFTS, np.zeros((144, 2), np.float32), np.ones((144, 2), np.float32))
    laid_out = replace(problem.layout, blocks=(shifts,))
    check_problem(replace(problem, layout=laid_out, terms=(PositionPrior(shifts.start, 1.0),)))
    of_scans = replace(shifts, name=BlockName.SCANS)
    with pytest.raises(RefinementError, match="scans"):
        check_problem(replace(problem, layout=replace(laid_out, blocks=(shifts, of_scans))))
    for name, part in {"lazy_clean": "cleaning", "source_blur_A": "mixture"}.items():
        with pytest.raises(RefinementError, match=name):
            check_problem(replace(problem, layout=replace(laid_out, **{part: object()})))
    beyond = replace(problem.multislice, model=ForwardModel(0.1, 0.02, (1.0,), varying_modes=1))
    with pytest.raises(RefinementError, match="a probe that varies"):
        check_problem(replace(problem, multislice=beyond))
    with pytest.raises(RefinementError, match="Anchor"):
        check_problem(replace(problem, terms=(Anchor(problem.start, problem.start),)))


def test_nothing_is_done_before(simulated):
    def never(progress):
        pytest.fail(progress.message)

    with pytest.raises(RefinementError, match="opr_components"):
        preset = Preset(window_px=24, opr_components=1)
        refine(simulated.dataset, preset, sharing=Shared(Threads(2)), on_progress=never)
