"""The process of a tuning: how it passes on a request, and what it reports while trials come."""

import threading
from pathlib import Path
from types import SimpleNamespace

from tuning_trials import DEFOCUS, SWEEPS, drawn

from ptylive.application.tuning.outcome import outcome
from ptylive.application.tuning.plain_state import SUMMARY_FILE, kept
from ptylive.server.tune import tune_process
from ptylive.server.tune.coordinator import Standing
from ptylive.server.tune.run import TuningResult

OVER = (DEFOCUS,)
REQUEST = {
    "scan": "/r/a.h5", "over": ["defocus=-200:200"], "preset": {"probe_modes": 2}, "values": {"energy_eV": 8e4},
    "defaults": {}, "patterns": 99, "sweeps": SWEEPS, "backend": "cpu", "threads": 2, "command_line": "ptylive serve",
    "where": [3, None, "refuse"], "trials": 7, "maps": "",
}  # fmt: skip


def test_a_request_becomes_a_tuning_and_every_step_is_said(tmp_path, monkeypatch):
    trials, said, asked = drawn(OVER, 12), [], {}
    begun = SimpleNamespace(
        over=OVER,
        settings=lambda values: {"scan_defocus": False},
        corrections=lambda values: {"defocus_A": values["defocus_A"]},
    )

    def tune_scan(wanted, number, seed, where, listener):
        asked.update(wanted=wanted, number=number)
        with where as (_, places):
            asked["places"] = places()
        listener.tell("making maps")
        listener.on_begun(begun)
        listener.on_change(Standing(tuple(trials[:4]), 1, None))
        listener.on_change(Standing(tuple(trials), 0, None))
        return TuningResult(outcome(OVER, trials, SWEEPS, {}), {"report": Path("/r/tune.html")})

    monkeypatch.setattr(tune_process, "tune_scan", tune_scan)
    tune_process.tune({**REQUEST, "folder": str(tmp_path)}, said.append, threading.Event())
    wanted = asked["wanted"]
    assert (asked["number"], asked["places"], wanted.patterns, wanted.threads) == (7, 3, 99, 2)
    assert wanted.preset.value("probe_modes") == 2 and wanted.values == {"energy_eV": 8e4}
    kinds = [message["kind"] for message in said]
    assert kinds == ["doing", "standing", "standing", "curves", "standing", "found"], "curves wait for their time"
    assert [message["ended"] for message in said if message["kind"] == "standing"] == [0, 4, 12]
    last = said[-1]
    assert last["settings"] == {"scan_defocus": False} and abs(last["corrections"]["defocus_A"] - 30.0) < 40.0
    assert kept(tmp_path)["sentences"] == last["sentences"]
    assert (tmp_path / SUMMARY_FILE).exists()


def test_it_begins_with_the_maps_of_the_server_unless_there_are_trials(tmp_path, monkeypatch):
    copied = []
    monkeypatch.setattr(tune_process, "copy_maps", lambda source, target: copied.append((source.name, target.name)))
    wanted = SimpleNamespace(results=tmp_path / "a_results.h5")
    tune_process._take_maps("/r/maps.h5", wanted)
    wanted.results.touch()
    tune_process._take_maps("/r/maps.h5", wanted)
    assert copied == [("maps.h5", "a_results.h5")]
