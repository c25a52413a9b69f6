"""What tiles cannot do is refused in a line that names the setting, before anything is done."""

from dataclasses import replace

import numpy as np
import pytest

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
    "update_detector_psf": {"update_detector_psf": True},
    "update_tilts": {"update_tilts": True},
    "method=dgp": {"method": "dgp"},
    "optimizer=pypty": {"optimizer": "pypty"},
    r"\[\[stage\]\]": {"stages": [{"num_slices": 1}, {"num_slices": 2, "total_thickness_A": 20}]},
    "a schedule of update_probe": {"update_probe": "epoch > 2"},
    "tilts_mrad": {"tilts_mrad": [[0, 0, 1, 1, 0, 0]]},
    "propmethod": {"propmethod": "yoshida"},
    "fly_scan_share": {"fly_scan_share": 1.0},
    "opr_components": {"opr_components": 2},
    "upsample_pattern": {"upsample_pattern": 2},
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
    with pytest.raises(RefinementError, match="Anchor"):
        check_problem(replace(problem, terms=(Anchor(problem.start, problem.start),)))


def test_nothing_is_done_before(simulated):
    def never(progress):
        pytest.fail(progress.message)

    with pytest.raises(RefinementError, match="update_tilts"):
        preset = Preset(window_px=24, update_tilts=True)
        refine(simulated.dataset, preset, sharing=Shared(Threads(2)), on_progress=never)
