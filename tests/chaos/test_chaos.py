"""Parts of the chaos run: the plan is reproducible, patterns distinguish scans, checks find what they look for."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stream_tools import messages_of

from chaos.checks import (
    BACK_S,
    BOUND_S,
    CHECKS,
    Entry,
    Evidence,
    acknowledged_frames,
    answered_requests,
    finished_refinements,
    flat_use,
    no_orphans,
    nothing_internal,
    recovered,
    stretch,
    unmixed_recordings,
)
from chaos.damage import MAKERS, PREFIX, drop
from chaos.history import History, read
from chaos.libc_faults import FULL, LibcFaults
from chaos.patterns import FRAMES, PIXELS, digest, pattern, scan_header
from chaos.plan import DAMAGES, FACTS, FAULTS, RATE, draw
from chaos.processes import free_port
from chaos.run import Run
from chaos.stored import files, known_patterns, look
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record


def test_the_same_seed_is_the_same_plan() -> None:
    plan = draw(7, 300.0)
    assert plan == draw(7, 300.0) != draw(8, 300.0)
    assert [event.at for event in plan] == sorted(event.at for event in plan)
    assert {event.kind for event in plan} == {"scan", *RATE}
    assert set(RATE) <= set(FAULTS)
    assert RATE.keys() == FACTS.keys()
    kills = [event for event in plan if event.kind == "kill"]
    assert [event for event in draw(7, 300.0, ("kill",)) if event.kind == "kill"] == kills
    assert {event.kind for event in draw(7, 300.0, ())} == {"scan"}


def test_every_event_of_a_plan_can_be_carried_out() -> None:
    assert {event.kind for event in draw(3, 3600.0)} == {
        name.removeprefix("_do_") for name in dir(Run) if name.startswith("_do_")
    }
    assert set(DAMAGES) == set(MAKERS)


def test_patterns_tell_scan_and_point() -> None:
    known = known_patterns([1, 2])
    assert len(known) == 2 * FRAMES
    assert known[digest(pattern(2, 5))] == (2, 5)
    assert pattern(1, 0).shape == (PIXELS, PIXELS)
    assert not np.array_equal(pattern(1, 0), pattern(2, 0))


def test_what_is_stored_is_known_by_its_content(tmp_path: Path) -> None:
    header, known = scan_header("one", "s"), known_patterns([1, 2])
    patterns = np.stack([pattern(2 if number == 3 else 1, number) for number in range(FRAMES)])
    patterns[5] = patterns[4]
    journal = Journal(tmp_path / "a.journal", header)
    for message in messages_of(header, patterns):
        journal.append(message)
    journal.close()
    found = look(tmp_path / "a.journal", known)
    record(tmp_path / "a.journal", tmp_path / "a.h5")
    (tmp_path / f"{PREFIX}1.h5").touch()
    (tmp_path / "b.h5").write_text("nothing")
    assert [path.name for path in files(tmp_path, {f"{PREFIX}1.h5"})] == ["a.h5", "b.h5"]
    assert look(tmp_path / "b.h5", known)["what"] == "unreadable"
    again = look(tmp_path / "a.h5", known)
    assert (found["what"], again["what"]) == ("journal", "recording")
    for one in (found, again):
        assert (one["uid"], one["frames"][2], one["strange"]) == ("one", [3], [5])
        assert one["frames"][1] == [number for number in range(FRAMES) if number not in (3, 5)]


@pytest.mark.parametrize("what", sorted(MAKERS))
def test_damaged_files_are_dropped(tmp_path: Path, what: str) -> None:
    header = scan_header("one", "s")
    Journal(tmp_path / "a.journal", header).close()
    for name in ("a.h5", "a_results.h5"):
        (tmp_path / name).write_bytes(bytes(1000))
    name = drop(tmp_path, what, 5)
    if what != "attribute_loop":  # not in the repository
        assert name.startswith(PREFIX)
        assert os.path.lexists(tmp_path / name)
    assert not [path for path in files(tmp_path, {name}) if path.name.startswith(PREFIX)]


def test_the_pages_port_is_none_of_the_servers_others() -> None:
    first = free_port()
    assert free_port(first, first + 1) not in (first, first + 1)


def test_a_full_disk_is_full_below_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    faults = LibcFaults.build(tmp_path, folder)
    if faults is None:
        pytest.skip("no C compiler here, or preloaded libraries do not act")
    code = "import sys, pathlib, os; pathlib.Path(sys.argv[1]).write_text('x'); print(os.statvfs(sys.argv[2]).f_bavail)"

    def write(where: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", code, str(where / "a"), str(folder)]
        return subprocess.run(command, env={**os.environ, **faults.environment}, capture_output=True, text=True)

    faults.set(FULL, 1)
    assert "No space left" in write(folder).stderr
    assert write(tmp_path).stdout == "0\n"
    faults.heal()
    assert int(write(folder).stdout) > 0


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(path).note("first", answer=42)
    with path.open("a") as file:
        file.write('{"t": 1, "ki')
    assert [(entry["kind"], entry["answer"]) for entry in read(path)] == [("first", 42)]


# -- checks: evidence of a run in which all went well, and what each check reports when one thing did not --------------


USED = {"kind": "used", "role": "acquire", "memory_MB": 300, "threads": 20, "handles": 40}


def well() -> Evidence:
    answered = {"who": "client", "command": "status", "seconds": 0.01, "outcome": "answered"}
    history: list[Entry] = [
        {"t": 0.0, "kind": "down", "why": "start"},
        {"t": 5.0, "kind": "request", "began": 4.9, **answered},
        {"t": 6.0, "kind": "sender_began", "uid": "a", "token": 1},
        {"t": 7.0, "kind": "acknowledged", "uid": "a", "token": 1, "ranges": [[0, 3]]},
        {"t": 8.0, "kind": "refinement", "uid": "a", "run": "run1", "state": "done", "loss": 0.5, "message": ""},
        *({**USED, "t": 9.0 + t} for t in range(30)),
        {"t": 50.0, "kind": "healed"},
        {"t": 51.0, "kind": "calm", "reached": True, "journals": []},
        {"t": 52.0, "kind": "sender_ended", "uid": "chaos-last", "token": 0, "safe": True},
        {"t": 53.0, "kind": "stopped", "status": 0, "orphans": []},
        {"t": 54.0, "kind": "left", "names": ["x_a.h5"]},
    ]  # fmt: skip
    stored: list[Entry] = [
        {"file": "x_a.h5", "what": "recording", "uid": "a", "frames": {"1": [0, 1, 2]}, "strange": []},
        {"file": "x_a_results.h5", "what": "results", "runs": {"run1": {"state": "done", "loss": 0.5}}},
    ]
    return Evidence(history, stored, "ptylive: frames at …\n")


def without(found: Evidence, kind: str) -> Evidence:
    return Evidence([entry for entry in found.history if entry["kind"] != kind], found.stored, found.log)


def with_entries(*entries: Entry) -> Evidence:
    found = well()
    return Evidence([*found.history, *({"t": 60.0, **entry} for entry in entries)], found.stored, found.log)


def with_files(*changed: Entry) -> Evidence:
    found = well()
    return Evidence(found.history, [{**one, **change} for one, change in zip(found.stored, changed, strict=True)])


def request(**facts: object) -> Entry:
    return {
        "kind": "request",
        "who": "c",
        "command": "save",
        "began": 20.0,
        "seconds": 0.1,
        "outcome": "answered",
        **facts,
    }


def test_nothing_is_found_where_all_went_well() -> None:
    assert [problem for check in CHECKS for problem in check(well())] == []


TWICE = {"kind": "refinement", "uid": "a", "run": "run1", "state": "done", "loss": 0.4, "message": ""}


def used_twice() -> Evidence:
    """The later of two refinements with the same name is kept."""
    kept = with_files({}, {"runs": {"run1": {"loss": TWICE["loss"]}}})
    return Evidence(with_entries(TWICE).history, kept.stored)


RISING = [{**USED, "threads": 20 + t} for t in range(60)]
BACK_LATE = request(t=70.0 + BACK_S, began=69.0 + BACK_S)


@pytest.mark.parametrize(
    ("check", "evidence", "said"),
    [
        (acknowledged_frames, with_files({"frames": {"1": [0, 2]}}, {}), "1 acknowledged"),
        (acknowledged_frames, with_files({"frames": {"2": [0, 1, 2]}}, {}), "3 acknowledged"),
        (unmixed_recordings, with_files({"frames": {"1": [0], "2": [1]}}, {}), "mixes"),
        (unmixed_recordings, with_files({"strange": [4]}, {}), "none that were sent"),
        (unmixed_recordings, with_files({"what": "unreadable", "error": "no HDF5"}, {}), "cannot be read"),
        (finished_refinements, with_files({}, {"runs": {}}), "no results file"),
        (finished_refinements, with_files({}, {"runs": {"run1": {"loss": 0.7}}}), "ended with loss"),
        (finished_refinements, used_twice(), "name of two"),
        (answered_requests, with_entries(request(seconds=BOUND_S + 1)), "answered after"),
        (answered_requests, with_entries(request(outcome="unanswered")), "unanswered"),
        (answered_requests, with_entries({"kind": "down", "t": 60.0}, BACK_LATE), "back"),
        (no_orphans, with_entries({"kind": "stopped", "status": 0, "orphans": ["python"]}), "still running"),
        (no_orphans, with_entries({"kind": "stopped", "status": None, "orphans": []}), "killed"),
        (no_orphans, with_entries({"kind": "left", "names": [".a.h5.12.tmp"]}), "left behind"),
        (no_orphans, with_entries({"kind": "left", "names": ["a.journal", "damaged_1.journal"]}), "a.journal"),
        (recovered, without(well(), "sender_ended"), "did not become safe"),
        (recovered, with_entries({"kind": "calm", "reached": False, "journals": ["a"]}), "rest"),
        (recovered, with_entries({"kind": "page_at_last", "answered": False}), "page"),
        (flat_use, with_entries(*RISING), "threads of acquire"),
        (nothing_internal, with_entries(request(error="internal error: KeyError")), "internal error"),
        (nothing_internal, Evidence(well().history, [], "Traceback (most recent call last)"), "log"),
        (nothing_internal, Evidence(well().history, [], "THE RECEIVING PROCESS DIED (SIGNAL SIGSEGV)"), "log"),
    ],
)  # fmt: skip
def test_each_check_sees_what_it_looks_for(
    check: Callable[[Evidence], list[str]], evidence: Evidence, said: str
) -> None:
    problems = check(evidence)
    assert len(problems) == 1, problems
    assert said in problems[0]


def test_who_asks_a_server_that_is_gone_or_held_has_to_wait() -> None:
    gone = [
        {"kind": "down", "t": 60.0},
        request(t=61.0, began=59.0, seconds=2.0, outcome="unanswered"),
        request(t=70.0, began=65.0),
    ]
    assert answered_requests(with_entries(*gone)) == []
    held = [{"kind": "paused", "t": 60.0, "pid": 1}, {"kind": "resumed", "t": 95.0, "pid": 1}]
    assert answered_requests(with_entries(*held, request(t=96.0, began=60.0, seconds=36.0))) == []


def test_a_busy_machine_is_given_time() -> None:
    busy = {"kind": "yardstick", "wall": 0.3, "work": 0.1}
    assert stretch(well()) == 1.0
    assert stretch(with_entries(busy)) == pytest.approx(3.0)
    assert answered_requests(with_entries(busy, request(t=90.0, seconds=2.9 * BOUND_S))) == []
    assert len(answered_requests(with_entries(busy, request(t=90.0, seconds=3.1 * BOUND_S)))) == 1


def test_a_name_may_be_used_again_by_who_resumes() -> None:
    found = with_entries({"kind": "refine_resume_accepted", "run": "run1", "state": ""}, TWICE)
    kept = [found.stored[0], {**found.stored[1], "runs": {"run1": {"loss": 0.4}}}]
    assert finished_refinements(Evidence(found.history, kept)) == []


def mixed(*further: Entry, leave_out: str = "", uid: str = "a") -> Evidence:
    """Two scans sent together under one uid, mixed in a file, which was reported; with further evidence."""
    found = with_files({"frames": {"1": [0, 1], "2": [5]}, "uid": uid}, {})
    entries = {
        "second": {"kind": "sender_began", "uid": "a", "token": 2, "t": 7.5},
        "said": {"kind": "said", "message": "frame 1 of scan a arrived again with different data", "t": 7.6},
    }
    kept = [entry for name, entry in entries.items() if name != leave_out]
    return Evidence([*found.history, *kept, *further], found.stored)


def with_senders(found: Evidence, count: int) -> Evidence:
    """The mixed recording, stating this number of senders."""
    return Evidence(found.history, [{**found.stored[0], "senders": count}, *found.stored[1:]], found.log)


def of_replay(frames: list[int]) -> Evidence:
    """The mixed recording, replayed as a scan that has no sender."""
    found = mixed(request(command="replay", arguments={"recording": Path(mixed().stored[0]["file"]).name}))
    copy = {**found.stored[0], "file": "z.h5", "uid": "0c", "frames": {"1": [0], "2": frames}}
    return Evidence(found.history, [*found.stored, copy])


def test_the_replay_of_a_damaged_copy_may_hold_frames_nobody_sent() -> None:
    asked = request(command="replay", arguments={"recording": "damaged_7.h5"})
    strange = with_files({"strange": [4]}, {}).stored
    own = Evidence(with_entries(asked).history, strange)
    assert len(unmixed_recordings(own)) == 1
    copy = {**strange[0], "uid": "0c"}
    assert unmixed_recordings(Evidence(own.history, [well().stored[0], {**copy, "file": "z.h5"}])) == []
    assert len(unmixed_recordings(Evidence(well().history, [well().stored[0], {**copy, "file": "z.h5"}]))) == 1


def test_a_refinement_of_a_damaged_copy_is_known_by_its_loss() -> None:
    done = {**TWICE, "uid": "b"}
    kept = {"file": "damaged_7_results.h5", "what": "results", "runs": {"run1": {"loss": TWICE["loss"]}}}
    found = with_entries(done)
    assert finished_refinements(Evidence(found.history, [*found.stored, kept])) == []
    other = {**kept, "runs": {"run1": {"loss": 7.0}}}
    assert len(finished_refinements(Evidence(found.history, [*found.stored, other]))) == 1


ENDED = {"kind": "sender_ended", "uid": "a", "token": 1, "safe": True, "t": 7.2}
OF_ANOTHER = {"kind": "said", "message": "uid a1 was armed with another header: it is another scan", "t": 7.6}


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (mixed(leave_out="said"), "nobody was told"),
        (mixed(OF_ANOTHER, leave_out="said"), "nobody was told"),
        (with_senders(mixed(), 1), "does not say"),
        (of_replay([6]), "sent under a"),
        (mixed(ENDED), "not at work at the same time"),
        (mixed({**ENDED, "kind": "sender_killed"}), "not at work at the same time"),
        (mixed(leave_out="second"), "not at work"),
        (mixed(uid="b"), "sent under a"),
        (mixed({"kind": "sender_began", "uid": "c", "token": 2, "t": 7.5}, leave_out="second"), "sent under a, c"),
        (
            mixed({"kind": "acknowledged", "uid": "a", "token": 1, "ranges": [[5, 6]], "t": 7.1}),
            "1 frames of 1 that were safe before have been replaced",
        ),
    ],
)
def test_scans_under_one_uid_may_not_be_mixed_otherwise(evidence: Evidence, said: str) -> None:
    (problem,) = unmixed_recordings(evidence)
    assert said in problem


def test_scans_sent_together_under_one_uid_may_be_mixed_where_that_is_said() -> None:
    assert unmixed_recordings(mixed()) == []
    assert unmixed_recordings(mixed(uid="a-again-2")) == []
    assert unmixed_recordings(with_senders(mixed(), 2)) == []
    assert unmixed_recordings(of_replay([5])) == []
    found = mixed(leave_out="said")
    assert unmixed_recordings(Evidence(found.history, found.stored, "uid a was armed with another header")) == []


def test_a_refinement_may_lie_in_a_file_of_its_own_or_have_been_renamed() -> None:
    found = well()
    own = {"file": "../temporary/x_a_results.h5.run1.pending", "what": "results", "runs": {"run1": {"loss": 0.5}}}
    assert finished_refinements(Evidence(found.history, [found.stored[0], own])) == []
    done = {"kind": "refinement", "uid": "a", "run": "run1", "state": "done", "loss": 0.4, "t": 60.0}
    renamed = with_entries({**done, "message": "stored as run2; fine"})
    runs = {"run1": {"loss": 0.5}, "run2": {"loss": 0.4}}
    assert finished_refinements(Evidence(renamed.history, [found.stored[0], {**found.stored[1], "runs": runs}])) == []


def test_frames_under_a_uid_of_two_scans_may_be_either_ones() -> None:
    found = with_entries(
        {"kind": "sender_began", "uid": "a", "token": 2, "t": 60.0},
        {"kind": "acknowledged", "uid": "a", "token": 2, "ranges": [[0, 2]], "t": 61.0},
    )
    assert acknowledged_frames(found) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_seconds_of_chaos(tmp_path: Path) -> None:
    """A plan can be carried out; what a run finds on a busy machine is left to `make chaos`."""
    seed = random.Random(1).randrange(1000)
    run = Run(tmp_path / "run", seed, draw(seed, 20.0), 20.0)
    run.carry_out()
    kinds = {entry["kind"] for entry in read(run.history.path)}
    assert {"began", "sender_began", "acknowledged", "request", "healed", "last", "stopped", "left"} <= kinds
    assert run.server.marked() == []


def test_the_last_scan_of_a_run_has_frames() -> None:
    """A scan that is only announced waits for them, and the server does not come to rest."""
    variants = set()
    for seed in range(200):
        scans = [event for event in draw(seed, 30.0) if event.kind == "scan"]
        variants |= {event.facts["variant"] for event in scans}
        assert scans[-1].facts["variant"] != "stray", seed
    assert "stray" in variants
