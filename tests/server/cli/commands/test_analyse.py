"""``ptylive export`` and ``ptylive analyse``."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from running import last_json, ptylive_here
from shown_progress import Updates, progress
from stored_runs import write_results

from ptylive.application.analysis.figures import STEPS, analyse, compare
from ptylive.schema import MetadataError
from ptylive.server.cli.commands.analyse import Steps, parse_line, report_half
from ptylive.server.process.exit_codes import ExitCode

DESCRIBED = Path(__file__).resolve().parents[4] / "docs/analysis.md"


@pytest.fixture
def results(tmp_path):
    write_results(tmp_path / "results.h5")
    return tmp_path / "results.h5"


def test_ptylive_export_writes_the_arrays_of_pypty(results, tmp_path):
    done = last_json(ptylive_here("export", results, tmp_path / "out", "--to", "pypty", "--json"))
    assert done["run"] == "run1"
    assert np.load(tmp_path / "out" / "co.npy").shape == (20, 24, 3, 2)
    refused = ptylive_here("export", results, tmp_path / "out", "--to", "mrc")
    assert refused.returncode == 1
    assert "no export to 'mrc'" in refused.stderr


def test_ptylive_analyse_writes_figures_and_pictures(results, tmp_path):
    out = tmp_path / "analysis"
    done = last_json(ptylive_here("analyse", results, out, "--with", results, "--line", "0,0,2,2", "--json"))
    assert done["ring_correlation_A"]["half"] is None  # a reconstruction agrees with itself
    assert sum(done["probe_powers"]) == pytest.approx(1)
    figures = json.loads((out / "analysis.json").read_text())
    assert set(figures) == {
        "run", "object", "probe", "aberrations", "transfer", "columns", "section", "ring_correlation",
        "shell_correlation", "grid", "radial", "loss", "principal_components", "on_scan",
    }  # fmt: skip
    described = DESCRIBED.read_text(encoding="utf-8")
    assert [name for name in sorted(set(figures) - {"run"}) if f"`{name}" not in described] == []
    assert len(figures["section"]["phase_rad"]) == 3
    waves = ("probe_modes", "object_modes", "probe_components", "object_components", "colour_wheel", "loss")
    pictures = ("object_phase", "object_on_scan", "columns", "section", "probe_mode_0", "probe_mode_1", "probe_phase")
    for name in (*pictures, *waves):
        assert f"`{name.replace('_0', '_N').replace('_1', '_N')}`" in described
        with Image.open(out / f"{name}.png") as picture:
            assert min(picture.size) > 1


def test_other_origins_are_brought_together(results):
    """An object that begins two rows further on is compared in the same area."""
    run = write_results(results)
    moved = replace(run, object=run.object[:, :, 2:], origin_A=(run.origin_A[0] + 2 * run.pixel_A, run.origin_A[1]))
    found = analyse(run)
    compare(found, run, moved)
    assert min(found.figures["ring_correlation"]["correlation"]) > 0.999
    with pytest.raises(MetadataError, match="pixels"):
        compare(found, run, replace(run, pixel_A=0.3))


def test_an_object_of_one_slice_has_no_section(results):
    run = write_results(results, slices=1)
    assert "section" not in analyse(run).figures
    with pytest.raises(MetadataError, match="one slice"):
        analyse(run, line_A=((0.0, 0.0), (1.0, 1.0)))
    assert parse_line("1,2,3,4.5") == ((1.0, 2.0), (3.0, 4.5))
    with pytest.raises(MetadataError, match="ROW,COL,ROW,COL"):
        parse_line("1,2,3")


@pytest.mark.parametrize(("field", "points"), [((1.0, 0.0), 10), ((0.0, 1.0), 14), ((0.0, 0.0), 0)])
def test_a_field_one_pixel_wide_has_the_section_that_is_there(results, field, points):
    """Regression: without --line, a field of one column was refused: "the line is shorter than a pixel"."""
    run = write_results(results)
    figures = analyse(replace(run, positions_A=run.positions_A * field)).figures
    assert ("section" in figures) == (points > 0)
    assert not points or np.shape(figures["section"]["phase_rad"]) == (3, points)


def test_an_analysis_without_the_comparison_is_partial(results, tmp_path):
    other = tmp_path / "other.h5"
    write_results(other)
    with h5py.File(other, "a") as file:
        file["refinements/run1/object"].attrs["sampling_A"] = [0.3, 0.3]
    done = ptylive_here("analyse", results, tmp_path / "out", "--with", other, "--json")
    assert done.returncode == ExitCode.PARTIAL, done.stderr
    assert "no comparison with run1: pixels of 0.25 and 0.3" in done.stderr
    assert "ring_correlation" not in json.loads((tmp_path / "out" / "analysis.json").read_text())


def test_what_cannot_be_analysed_at_all_is_refused_before_anything_is_written(results, tmp_path):
    done = ptylive_here("analyse", results, tmp_path / "out", "--with", tmp_path / "none.h5")
    assert done.returncode == ExitCode.FAILED
    assert not (tmp_path / "out").exists()


def test_an_analysis_tells_how_far_it_is(results):
    told = Updates()
    steps = Steps(told, STEPS)
    analyse(write_results(results), on_step=steps)
    assert [done for done, _, _ in told.updates] == list(range(STEPS))
    assert {total for _, total, _ in told.updates} == {STEPS}
    steps.inside(0.5, "first half")
    assert told.updates[-1] == (STEPS - 0.5, STEPS, "analysing: first half")


def test_halves_of_the_dose_share_one_step():
    told = Updates()
    steps = Steps(told, 5)
    steps("halves of the dose")
    told.updates.clear()
    report_half(steps, 0, progress("trial", epoch=0, epochs=1, message="trying 40 Å"))
    report_half(steps, 0, progress("sweep", epoch=5, epochs=10))
    report_half(steps, 1, progress("sweep", epoch=5, epochs=10))
    report_half(steps, 1, progress("lbfgs", epoch=10, epochs=10))
    assert [done for done, _, _ in told.updates] == [0, 0.25, 0.75, 1]
    assert [text.removeprefix("analysing: ") for _, _, text in told.updates] == [
        "first half of the dose, trying 40 Å",
        "first half of the dose, epoch 5 of 10",
        "second half of the dose, epoch 5 of 10",
        "second half of the dose, epoch 10 of 10",
    ]
