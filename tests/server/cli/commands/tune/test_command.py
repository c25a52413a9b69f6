"""``ptylive tune``: its answers, its files, and what it refuses, on a scan of twelve by twelve."""

import importlib.util
import inspect
import json

import pytest
from running import last_json, ptylive_here

from ptylive.application.presets import load_preset
from ptylive.application.simulation import simulate_file
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.engine.refine.validation.trial_size import PATTERNS, SWEEPS
from ptylive.schema.errors import StoppedError
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.cli.commands.tune import command
from ptylive.server.cluster import places
from ptylive.server.process.exit_codes import ExitCode

QUICK = (
    "--set",
    "num_slices=1",
    "--set",
    "probe_modes=1",
    "--set",
    "window_px=32",
    "--patterns",
    "64",
    "--sweeps",
    "2",
)
pytest.importorskip("optuna", reason="needs the extra 'tune'")


class Here:
    """A worker in this process (:class:`ptylive.server.refinement.job_process.JobProcess`), with fake trials."""

    def __init__(self, job):
        self.job, self.told = job, []

    def messages(self):
        yield {"kind": "ready"}
        while True:
            message = self.told.pop(0)
            if message.get("stop"):
                yield {"kind": "ended"}
                return
            if "try" in message:
                number, defocus = message["try"]["trial"], message["try"]["values"]["defocus_A"]
                for sweep in (1, 2):
                    groups = [(1 + k / 50) * (1 + ((defocus - 90) / 100 + k / 1000) ** 2) / sweep for k in range(16)]
                    yield {"kind": "sweep", "trial": number, "sweep": sweep, "groups": groups}
                yield {"kind": "tried", "trial": number, "state": "done", "reason": "", "seconds": 0.1}

    def tell(self, message):
        self.told.append(message)

    def ending(self):
        return ""

    def end(self):
        pass


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "s.h5"
    simulate_file(path, SimulationSettings.of({"scan_shape": (12, 12), "seed": 1}), overwrite=False)
    return path


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(places, "JobProcess", Here)


def tune(scan, *words):
    return ptylive_here("tune", str(scan), *words, *QUICK, "--workers", "1")


def test_defaults_are_those_of_the_documents():
    options = {name: one.default for name, one in inspect.signature(command.tune).parameters.items()}
    assert (options["patterns"], options["sweeps"]) == (PATTERNS, SWEEPS)
    assert options["by"] == Judge.HELD_OUT


def test_what_was_found_is_said_and_written(scan, made_up):
    done = tune(scan, "--over", "defocus", "--trials", "12", "--json")
    assert done.returncode == 0, done.stderr
    said = last_json(done)
    assert (said["trials"], said["done"], said["failed"]) == (12, 12, 0)
    assert abs(said["values"]["defocus_A"] - 90) < 3
    assert said["estimates"]["defocus_A"]["told"] and said["sentences"][0].startswith("defocus ")
    folder = scan.with_name("s_tuning")
    assert {"best.toml", "landscape", "s_results.h5", "trials.csv", "trials.journal", "tune.html"} <= {
        path.name for path in folder.iterdir()
    }
    loaded = load_preset(folder / "best.toml")
    assert loaded.corrections == said["values"] and loaded.settings["num_slices"] == 1
    again = last_json(tune(scan, "--over", "defocus", "--trials", "12", "--json"))
    assert again == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--over", "defcus"), "did you mean 'defocus'"),
        (("--over", "defocus=3"), "has no range"),
        (("--over", "defocus", "--by", "luck"), "use held-out or halves"),
        (("--over", "defocus", "--cluster", "nowhere"), "--workers cannot be combined with --cluster"),
        (("--over", "algorithm"), "--by halves"),
        (("--over", "defocus", "--set", "thicknes=3"), "did you mean"),
        (("--over", "thickness"), "no thickness is known"),
    ],
)
def test_what_cannot_be_is_one_line(scan, made_up, tmp_path, words, said):
    done = tune(scan, *words, "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("ptylive: ") and said in line


def test_trials_of_other_settings_are_refused(scan, made_up, tmp_path):
    out = ("-o", str(tmp_path / "out"))
    assert tune(scan, "--over", "defocus", "--trials", "3", *out).returncode == 0
    done = tune(scan, "--over", "defocus=0:200", "--trials", "3", *out)
    assert (
        done.returncode == 1
        and "belongs to a tuning that differs in the varied values: give another --out" in done.stderr
    )


def test_without_optuna_a_line_says_what_to_install(scan, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    done = tune(scan, "--over", "defocus")
    assert done.returncode == 1
    assert done.stderr == "ptylive: tuning needs Optuna, which is not installed: pip install 'ptylive[tune]'\n"


def test_few_trials_are_said_to_be_few(scan, made_up, tmp_path):
    done = tune(scan, "--over", "defocus", "--trials", "2", "-o", str(tmp_path / "out"))
    assert "too few trials" in done.stderr and "preset: " in done.stdout


def test_a_journal_is_json_and_nothing_else(scan, made_up, tmp_path):
    tune(scan, "--over", "defocus", "--trials", "2", "-o", str(tmp_path / "out"))
    lines = (tmp_path / "out" / "trials.journal").read_text().splitlines()
    assert len(lines) > 10 and all(isinstance(json.loads(line), dict) for line in lines)


def test_a_run_that_is_stopped_before_its_trials_was_interrupted(scan, monkeypatch, tmp_path):
    """Regression: Ctrl-C while the maps were made ended as a failure, with status 1."""

    def stopped(*_):
        raise StoppedError("stopped on request before the maps were made")

    monkeypatch.setattr("ptylive.server.tune.run.tune_scan", stopped)
    ended = tune(scan, "--over", "defocus", "--out", str(tmp_path))
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        ExitCode.INTERRUPTED,
        "ptylive: interrupted: stopped on request before the maps were made; run the same command again",
    )
