"""The recorder's own process must not start OpenMP threads: on a busy machine they made a frame cost milliseconds."""

from pathlib import Path
from typing import Any

import pytest

from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording import converter, recorder
from ptylive.streamer.recording.converter import Converter, Job


def test_the_recorder_gets_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environments: list[dict[str, str]] = []

    def no_process(*_: Any, env: dict[str, str], **__: Any) -> Any:
        environments.append(env)
        raise OSError("not started in this test")

    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(converter.subprocess, "Popen", no_process)
    events: list[RecordingEvent] = []
    one = Converter(events.append)
    one.add(Job("u", tmp_path / "a.journal", tmp_path / "a.h5"))
    assert one.stop(5)
    assert [env["OMP_NUM_THREADS"] for env in environments] == ["1"]
    assert [event.state for event in events] == ["failed"]


def test_it_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert recorder.main(["a.journal"]) == 2
    assert "usage:" in capsys.readouterr().err
