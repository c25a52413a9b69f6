"""``ptylive export`` and ``ptylive analyse``."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from running import last_json, ptylive
from stored_runs import write_results

from ptylive.schema import MetadataError
from ptylive.server.analysis import analyse, compare
from ptylive.server.commands.analyse import parse_line


@pytest.fixture
def results(tmp_path):
    write_results(tmp_path / "results.h5")
    return tmp_path / "results.h5"


def test_export(results, tmp_path):
    done = last_json(ptylive("export", results, tmp_path / "out", "--to", "pypty", "--json"))
    assert done["run"] == "run1"
    assert np.load(tmp_path / "out" / "co.npy").shape == (20, 24, 3, 2)
    refused = ptylive("export", results, tmp_path / "out", "--to", "mrc")
    assert refused.returncode == 1
    assert "no export to 'mrc'" in refused.stderr


def test_analyse(results, tmp_path):
    out = tmp_path / "analysis"
    done = last_json(ptylive("analyse", results, out, "--with", results, "--line", "0,0,2,2", "--json"))
    assert done["ring_correlation_A"]["half"] is None  # a reconstruction agrees with itself
    assert sum(done["probe_powers"]) == pytest.approx(1)
    figures = json.loads((out / "analysis.json").read_text())
    assert set(figures) == {
        "run", "object", "probe", "aberrations", "transfer", "columns", "section", "ring_correlation",
        "shell_correlation",
    }  # fmt: skip
    assert len(figures["section"]["phase_rad"]) == 3
    for name in ("object_phase", "columns", "section", "probe_mode_0", "probe_mode_1", "probe_phase"):
        with Image.open(out / f"{name}.png") as picture:
            assert min(picture.size) > 1


def test_other_origins_are_brought_together(results):
    """An object that begins two rows further on is compared with the same place."""
    run = write_results(results)
    moved = replace(run, object=run.object[:, :, 2:], origin_A=(run.origin_A[0] + 2 * run.pixel_A, run.origin_A[1]))
    found = analyse(run)
    compare(found, run, moved)
    assert min(found.figures["ring_correlation"]["correlation"]) > 0.999
    with pytest.raises(MetadataError, match="pixels"):
        compare(found, run, replace(run, pixel_A=0.3))


def test_one_slice(results):
    run = write_results(results, slices=1)
    assert "section" not in analyse(run).figures
    with pytest.raises(MetadataError, match="one slice"):
        analyse(run, line_A=((0.0, 0.0), (1.0, 1.0)))
    assert parse_line("1,2,3,4.5") == ((1.0, 2.0), (3.0, 4.5))
    with pytest.raises(MetadataError, match="ROW,COL,ROW,COL"):
        parse_line("1,2,3")
