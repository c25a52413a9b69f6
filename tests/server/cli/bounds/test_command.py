"""``ptylive bench --bounds``: one record, which states what could not be measured."""

import json

from ptylive.server.cli.bounds import command, measured


def test_one_record_with_machine_bounds_figures_and_failures(monkeypatch, capsys):
    monkeypatch.setattr(measured, "measure", lambda: ({"fma": 50e9, "loopback": 2e9}, {"disk_write": "no disk"}))

    def refine():
        return {"frames_per_s": 20e3, "window": 64, "slices": 1, "modes": 1}

    def stream():
        raise OSError("no address is free")

    made = command.record({"refine": refine, "stream": stream})
    json.dumps(made)
    assert [share["figure"] for share in made["figures"]] == ["refine frames_per_s"]
    assert made["not_measured"]["disk_write"] == "no disk"
    assert made["records"]["stream"]["error"] == "OSError: no address is free"
    assert made["machine"]["cpu"]
    command.show(made)
    shown = capsys.readouterr().out
    assert "| fma | 50 10⁹ multiply-adds/s |" in shown
    assert "not measured: disk_write: no disk" in shown
