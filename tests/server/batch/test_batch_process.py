"""The process of a batch: how it passes on a request, and the rows it reports."""

import threading
from pathlib import Path

from ptylive.application.batch.rows import Row, State
from ptylive.server.batch import batch_process


def test_a_request_becomes_a_batch_that_takes_the_maps_there_are(tmp_path, monkeypatch):
    said, asked = [], {}

    class Batch:
        def __init__(self, wanted, launch, places):
            asked.update(wanted=wanted, places=places())

        def run(self, scans, should_stop, on_change):
            asked.update(scans=scans, stops=should_stop())
            on_change([Row(scan="/r/a.h5", name="a", state=State.RUNNING)])
            return [Row(scan="/r/a.h5", name="a", state=State.DONE, loss=2.5)]

    monkeypatch.setattr(batch_process, "Batch", Batch)
    request = {
        "scans": ["/r/a.h5"], "folder": str(tmp_path), "preset": {"sweeps": 2}, "values": {"defocus_A": 1.0},
        "defaults": {"energy_eV": 8e4}, "backend": "cpu", "threads": 1, "retry": True, "command_line": "ptylive serve",
        "where": [2, None, "refuse"], "map_settings": {"wdd.epsilon": 0.1}, "detectors": {"haadf": "lost"},
    }  # fmt: skip
    batch_process.batch(request, said.append, threading.Event())
    wanted = asked["wanted"]
    assert wanted.takes_maps and wanted.retry and wanted.folder == tmp_path
    assert (wanted.map_settings, wanted.detectors) == ({"wdd.epsilon": 0.1}, {"haadf": "lost"})
    assert (wanted.values, wanted.defaults) == ({"defocus_A": 1.0}, {"energy_eV": 8e4})
    assert (asked["scans"], asked["places"], asked["stops"]) == ([Path("/r/a.h5")], 2, False)
    assert [message["rows"][0]["state"] for message in said] == ["running", "done"]
