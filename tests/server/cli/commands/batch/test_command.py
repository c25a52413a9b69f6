"""``ptylive batch``: its output, its exit codes, and what it refuses, with fake refinements."""

import json

import numpy as np
import pytest
from running import last_json, ptylive_here
from scripted_refinement import ENDED, Scripted, progress

from ptylive.application.batch.figures import Figures
from ptylive.server.batch import coordinator
from ptylive.server.cluster import places


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Two scans in the current folder; each refinement finishes at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "JobProcess", Scripted)
    monkeypatch.setattr(Scripted, "script", [progress(3), ENDED])
    monkeypatch.setattr(Scripted, "started", [])
    monkeypatch.setattr(coordinator.figures, "draw", lambda *_: Figures("obf", 0.75))
    for name in ("a", "b"):
        (tmp_path / f"{name}.h5").write_bytes(b"frames")
    return tmp_path


def test_every_scan_is_done_and_counted(scans):
    done = ptylive_here("batch", "*.h5", "--out", "out", "--set", "epoch_max=9", "--set", "energy_eV=80e3", "--json")
    assert last_json(done) == {"scans": 2, "done": 2, "table": "out/batch.html", "csv": "out/batch.csv"}
    given = Scripted.started[0].job
    assert (given.preset.value("epoch_max"), given.values) == (9, {"energy_eV": 80e3})
    assert given.ends_at_once
    assert "obf" in given.methods


def test_a_preset_says_settings_and_metadata_where_files_say_nothing(scans):
    (scans / "p.toml").write_text("[refine]\nprobe_modes = 2\nepoch_max = 5\n[optics]\nenergy_eV = 60e3\n")
    done = ptylive_here(
        "batch", "*.h5", "-o", "out", "--preset", "p.toml", "--set", "epoch_max=7", "--methods", "obf", "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    given = Scripted.started[0].job
    assert (given.preset.value("probe_modes"), given.preset.value("epoch_max")) == (2, 7)
    assert (given.defaults, given.methods) == ({"energy_eV": 60e3}, ("obf",))


def test_settings_of_all_maps_and_virtual_detectors_reach_every_scan(scans):
    np.save(scans / "mask.npy", np.ones((4, 4)))
    done = ptylive_here(
        "batch", "*.h5", "-o", "out", "--set", "wdd.epsilon=0.1", "--set", "obf.noise=3", "--set", "epoch_max=9",
        "--detector", "haadf=ring:60mrad,200mrad", "--detector", "left=mask.npy",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for started in Scripted.started:
        assert started.job.map_settings == {"wdd.epsilon": 0.1, "obf.noise": 3.0}
        assert started.job.preset.start.map_settings == {"obf.noise": 3.0}, "the map that refinements start from"
        assert started.job.detectors == {"haadf": "ring:60mrad,200mrad", "left": str(scans / "mask.npy")}
    assert len(Scripted.started) == 2


@pytest.mark.parametrize(("bad", "code"), [(1, 3), (2, 1)], ids=["some failed", "all failed"])
def test_failures_are_named_and_tell_in_the_exit_code(scans, monkeypatch, bad, code):
    class Failing(Scripted):
        def messages(self):
            if len(self.started) <= bad:
                yield {"kind": "failed", "message": f"{self.job.recording.name} is damaged: restore it"}
            else:
                yield ENDED

    monkeypatch.setattr(places, "JobProcess", Failing)
    done = ptylive_here("batch", "*.h5", "-o", "out", "--workers", "1")
    assert done.returncode == code
    assert "ptylive: a failed: a.h5 is damaged: restore it" in done.stderr
    assert "try them again with --retry" in done.stderr
    assert f"failed: {bad}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["*.tif", "-o", "out"], "no file matches '*.tif'"),
        (["*.h5", "-o", "a.h5"], "nothing can be written into a.h5"),
        (["*.h5", "-o", "out", "--set", "epochs_max=3"], "epochs_max"),
        (["*.h5", "-o", "out", "--methods", "obff"], "obff"),
        (["*.h5", "-o", "out", "--set", "wdd.epsilom=1"], "did you mean 'wdd.epsilon'"),
        (["*.h5", "-o", "out", "--detector", "haadf=rng:1,2"], "is neither a disc, a ring nor a mask"),
        (["*.h5", "-o", "out", "--preset", "gone.toml"], "gone.toml"),
        (["*.h5", "-o", "out", "--backend", "tpu"], "tpu"),
        (["*.h5", "-o", "out", "--cluster", "nowhere"], "'nowhere' is not a cluster"),
        (
            ["*.h5", "-o", "out", "--cluster", "local:2", "--workers", "2"],
            "--workers cannot be combined with --cluster",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(scans, arguments, said):
    done = ptylive_here("batch", *arguments)
    assert done.returncode == 1
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert Scripted.started == [] and not (scans / "out").exists()


def test_positions_of_a_preset_are_of_one_scan(scans):
    preset = {"positions": [[0, 0], [0, 1]], "pypty": True}
    (scans / "p.json").write_text(json.dumps(preset))
    assert ptylive_here("batch", "*.h5", "-o", "out", "--preset", "p.json").returncode == 1
    assert Scripted.started == []
