"""Two runs side by side, and what is reported of a run's networks."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here
from stored_runs import write_results

from ptylive.application.analysis.side_by_side import add_comparison, prior_figures, prior_page
from ptylive.engine.stored_run import StoredPrior, StoredRun


def with_networks(path, losses, warning=""):
    """A results file whose run used networks, as ``engine/results.py`` writes it."""
    write_results(path)
    with h5py.File(path, "r+") as file:
        group = file["refinements/run1"].create_group("prior")
        group["losses_held"] = np.asarray(losses)
        group.attrs.update(
            epoch=1, held_out=9, gain=(0.01, 0.002), warning=warning, sentence="networks of epoch 1 of 2"
        )
    return StoredRun.read(path)


def test_networks_are_told_with_their_null_test(tmp_path):
    run = with_networks(tmp_path / "r.h5", [3.0, 2.0, 2.5], "no image: 9 patterns")
    said = prior_figures(run)
    assert said["losses_held"] == [3.0, 2.0, 2.5]
    assert said["warning"] == "no image: 9 patterns"
    assert said["gain"] == [0.01, 0.002]
    assert prior_page(run).shape[2] == 3
    pixels = write_results(tmp_path / "p.h5")
    assert prior_figures(pixels) is None
    assert prior_page(pixels) is None
    assert prior_page(replace(run, prior=StoredPrior(np.array([1.0]), {}))) is None


def test_pages_of_two_runs(tmp_path):
    one, two = with_networks(tmp_path / "r.h5", [3.0, 2.0]), write_results(tmp_path / "p.h5")
    pages = {}
    add_comparison(pages, (one, two), (one.phase(), two.phase()))
    assert set(pages) == {"comparison", "comparison_power", "comparison_loss"}
    rows, columns, _ = pages["comparison"].shape
    assert columns == pytest.approx(2 * rows, rel=0.4)  # two rows of four
    flat = {}
    add_comparison(flat, (one, two), (np.zeros((1, 9, 9)), np.zeros((1, 9, 9))))
    assert "comparison_power" not in flat  # an empty object has no power spectrum


def test_on_the_command_line(tmp_path):
    with_networks(tmp_path / "r.h5", [3.0, 2.0, 2.5], "no image: 9 patterns")
    write_results(tmp_path / "p.h5")
    said = last_json(
        ptylive_here("analyse", tmp_path / "r.h5", tmp_path / "out", "--with", tmp_path / "p.h5", "--json")
    )
    names = {name.rsplit("/", 1)[-1] for name in said["files"]}
    assert {
        "comparison.png",
        "comparison_power.png",
        "comparison_loss.png",
        "ring_correlation.png",
        "prior.png",
    } <= names
    assert "no image" in (tmp_path / "out" / "analysis.json").read_text(encoding="utf-8")
