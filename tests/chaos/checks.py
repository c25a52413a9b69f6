"""What must hold after a chaos run, judged by its history and the files on disk; each check returns problems."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ptylive.server.process.exit_codes import ExitCode

Entry = dict[str, Any]

BOUND_S = 30.0
"""No request may take longer, given a free core (see `stretch`); TARGET_S is the target."""
TARGET_S = 1.0
BACK_S = 60.0
"""Likewise, a killed server answers again within this time: imports, recovery, pauses between restarts."""
ALLOWED = {"memory_MB": (1.3, 120.0), "threads": (1.0, 8.0), "handles": (1.0, 24.0)}
"""Limits on the median of the last third relative to that of the first: a factor, and an allowance. Memory: caches of
24 shown scans, thread arenas. Threads and handles: whatever happens to be at work at that time (a recorder, a
refinement: pipes and a thread each; viewers and senders: a socket each)."""
LOUD = re.compile(
    r"Traceback|internal error|Segmentation|core dumped|Fatal Python|signal SIG(SEGV|BUS|ABRT|FPE|ILL)", re.IGNORECASE
)

SAME_UID = re.compile(r"(?:other|different) data|another header|two senders")
AGAIN = re.compile(r"-again-\d+$")
"""Suffix of a further scan with the same uid."""
PENDING = re.compile(r"\.run\d+\.pending$")
STORED_AS = re.compile(r"stored as (run\d+)")


@dataclass(frozen=True)
class Evidence:
    """All evidence of a run. stored: output of chaos.stored; log: what the server printed."""

    history: list[Entry]
    stored: list[Entry]
    log: str = ""

    def of(self, *kinds: str) -> Iterator[Entry]:
        """Entries of the given kinds."""
        return (entry for entry in self.history if entry["kind"] in kinds)


def acknowledged_frames(evidence: Evidence) -> list[str]:
    """Every frame that was acknowledged is stored, with the bytes that were sent."""
    stored = _frames_by_token(evidence)
    senders = defaultdict(set)
    for entry in evidence.of("sender_began"):
        senders[entry["uid"]].add(entry["token"])
    first: dict[str, int] = {}
    for entry in evidence.of("sender_began"):
        first.setdefault(entry["uid"], entry["token"])
    shared_at = {
        entry["uid"]: entry["t"] for entry in evidence.of("sender_began") if entry["token"] != first[entry["uid"]]
    }
    problems = []
    for entry in evidence.of("acknowledged"):
        uid, token = entry["uid"], entry["token"]
        # once two scans share a uid, `received` may refer to either
        either = entry["t"] > shared_at.get(uid, math.inf)
        there = set().union(*(stored[one] for one in (senders[uid] if either else {token})))
        missing = [n for start, stop in entry["ranges"] for n in range(start, stop) if n not in there]
        if missing:
            problems.append(
                f"scan {uid} (of {token}): {len(missing)} acknowledged frames are not stored: {missing[:5]}"
            )
    return problems


def unmixed_recordings(evidence: Evidence) -> list[str]:
    """No file holds frames of two scans, frames nobody sent, or frames in another's place.

    Frames carry nothing but uid and number: two scans that are sent under one uid *at the same time* can only be told
    apart where both send the same number. A file may therefore hold frames of both if all of this is true: it has their
    uid, their senders were at work at the same time, it was reported that this uid is used twice, the recording itself
    says so, and no frame of a later scan replaces one of an earlier scan that was safe before the later one began. A
    replayed recording is another one with the same frames: its problems are reported for the first.
    """
    problems = []
    replayed = _replayed(evidence)
    for file in evidence.stored:
        if file["what"] == "unreadable":
            problems.append(f"{file['file']} cannot be read: {file['error']}")
        if file.get("strange") and not _of_damaged(evidence, file):
            problems.append(f"{file['file']}: frames {file['strange'][:5]} are none that were sent")
        if any(_is_copy(file, one) for one in replayed):
            continue
        if len(file.get("frames", {})) > 1 and (why := _wrongly_mixed(evidence, file)):
            shares = ", ".join(f"{len(numbers)} of {token}" for token, numbers in file["frames"].items())
            problems.append(f"{file['file']} ({file['uid']}) mixes scans: {shares}; {why}")
    return problems


def _wrongly_mixed(evidence: Evidence, file: Entry) -> str:
    """Why a file that holds several scans should hold only one; empty if it may hold them."""
    tokens = {int(token) for token in file["frames"]}
    began = {entry["token"]: entry for entry in evidence.of("sender_began") if entry["token"] in tokens}
    uids = {entry["uid"] for entry in began.values()}
    uid = AGAIN.sub("", file["uid"])
    if uids != {uid}:
        return f"they were sent under {', '.join(sorted(uids))}"
    if not _sent_together(evidence, tokens):
        return "their senders were not at work at the same time"
    about = re.compile(rf"\b{re.escape(uid)}(?!\w)")
    said = [*(entry["message"] for entry in evidence.of("said")), *evidence.log.splitlines()]
    if not any(SAME_UID.search(words) and about.search(words) for words in said):
        return "nobody was told"
    if file.get("senders", 2) < 2:
        return "the recording does not say that it had two senders"
    if file["uid"] == uid:
        first = min(began, key=lambda token: began[token]["t"])
        later = min(entry["t"] for token, entry in began.items() if token != first)
        safe = _safe_before(evidence, first, later)
        taken = safe.intersection(*(file["frames"][str(token)] for token in tokens - {first}))
        if taken:
            return f"{len(taken)} frames of {first} that were safe before have been replaced: {sorted(taken)[:5]}"
    return ""


def _replayed(evidence: Evidence) -> list[Entry]:
    """Recordings that clients had replayed to the server as new scans."""
    requests = (entry for entry in evidence.of("request") if entry["command"] == "replay")
    names = {entry.get("arguments", {}).get("recording") for entry in requests}
    return [file for file in evidence.stored if Path(file["file"]).name in names and "frames" in file]


def _of_damaged(evidence: Evidence, file: Entry) -> bool:
    """Whether a file may be the replay of a damaged copy: its uid belongs to no sender. A flipped bit in a compressed
    frame may decode to a different frame, and nothing in the copy shows it.
    """
    requests = (entry for entry in evidence.of("request") if entry["command"] == "replay")
    damaged = any(str(entry.get("arguments", {}).get("recording", "")).startswith("damaged_") for entry in requests)
    return damaged and AGAIN.sub("", file["uid"]) not in {entry["uid"] for entry in evidence.of("sender_began")}


def _is_copy(file: Entry, of: Entry) -> bool:
    """Whether a file holds only frames of another file, under another uid."""
    there = of["frames"]
    return bool(file.get("uid") != of["uid"] and file.get("frames")) and all(
        set(numbers) <= set(there.get(token, ())) for token, numbers in file["frames"].items()
    )


def _safe_before(evidence: Evidence, token: int, when: float) -> set[int]:
    """Numbers of the frames of a scan that had been acknowledged by then."""
    ranges = (entry["ranges"] for entry in evidence.of("acknowledged") if entry["token"] == token and entry["t"] < when)
    return {number for pairs in ranges for start, stop in pairs for number in range(start, stop)}


def finished_refinements(evidence: Evidence) -> list[str]:
    """Every refinement that was reported done is in a results file of its scan, under its own name.

    If the disk stayed full to the end, it is in a separate file, which the message names (chaos.stored looks there).
    """
    uids = {_stem(file["file"]): file["uid"] for file in evidence.stored if "uid" in file}
    kept: dict[tuple[str, str], list[float]] = defaultdict(list)
    for file in evidence.stored:
        if file["what"] == "results":
            for run, found in file["runs"].items():
                kept[uids.get(_stem(file["file"]), ""), run].append(found["loss"])
    resumed = {entry["run"] for entry in evidence.of("refine_resume_accepted")}
    problems: list[str] = []
    last: dict[tuple[str, str], float | None] = {}
    for entry in evidence.of("refinement"):
        if entry["state"] == "done":
            renamed = STORED_AS.search(entry["message"])
            key = entry["uid"], renamed[1] if renamed else entry["run"]
            if last.get(key, entry["loss"]) != entry["loss"] and entry["run"] not in resumed:
                problems.append(f"{key[1]} of {entry['uid']} was the name of two refinements")
            last[key] = entry["loss"]
    for (uid, run), loss in last.items():
        if not kept[uid, run] and loss is not None:  # of a damaged copy, which no longer states a uid
            kept[uid, run] = [found for found in kept["", run] if math.isclose(loss, found, rel_tol=1e-6)]
        if not kept[uid, run]:
            problems.append(f"{run} of {uid} was reported done and is in no results file")
        elif loss is not None and not any(math.isclose(loss, found, rel_tol=1e-6) for found in kept[uid, run]):
            problems.append(f"{run} of {uid} ended with loss {loss:.6g}; the file has {kept[uid, run]}")
    return problems


def answered_requests(evidence: Evidence) -> list[str]:
    """No request went unanswered, or waited long, while there was a server to answer it."""
    gaps, slower = outages(evidence), stretch(evidence)
    problems = []
    for entry in evidence.of("request"):
        began, ended = entry["began"], entry["began"] + entry["seconds"]
        if any(start < ended and began < stop for start, stop in gaps["lost"]):
            continue
        waited = entry["seconds"] - _overlap(began, ended, gaps["paused"])
        if entry["outcome"] == "unanswered" or (entry["outcome"] != "gone" and waited > slower * BOUND_S):
            problems.append(f"{entry['who']}: {entry['command']} {entry['outcome']} after {waited:.1f} s")
    for start, stop in gaps["lost"]:
        if stop - start - _overlap(start, stop, gaps["paused"]) > slower * BACK_S:
            problems.append(f"a lost server was back after {stop - start:.0f} s only")
    return problems


def stretch(evidence: Evidence) -> float:
    """How many times longer everything takes because other programs compete for the cores; 1 on an idle machine."""
    measured = list(evidence.of("yardstick"))
    work = sum(entry["work"] for entry in measured)
    return max(1.0, sum(entry["wall"] for entry in measured) / work) if work else 1.0


def outages(evidence: Evidence) -> dict[str, list[tuple[float, float]]]:
    """Times (begin, end) in which the server was gone (until it answered again), or was paused."""
    lost, paused, down, held = [], [], None, {}
    end = evidence.history[-1]["t"] if evidence.history else 0.0
    for entry in evidence.history:
        if entry["kind"] in ("down", "server_ended") and down is None:
            down = entry["t"]
        elif entry["kind"] == "request" and entry["outcome"] == "answered" and entry["who"] != "page":
            if down is not None and entry["began"] > down:
                lost.append((down, entry["t"]))
                down = None
        elif entry["kind"] == "paused":
            held[entry["pid"]] = entry["t"]
        elif entry["kind"] == "resumed" and entry["pid"] in held:
            paused.append((held.pop(entry["pid"]), entry["t"]))
    if down is not None:
        lost.append((down, end))
    return {"lost": lost, "paused": paused + [(start, end) for start in held.values()]}


def no_orphans(evidence: Evidence) -> list[str]:
    """All processes of the server end with it; it ends when told to, and tidies up at its next start."""
    problems = []
    for entry in evidence.of("stopped"):
        problems += [f"still running after the end: {name}" for name in entry["orphans"]]
        if entry["status"] is None:
            problems.append("the server did not end when told to, and had to be killed")
        elif entry["status"] not in (ExitCode.DONE, ExitCode.PARTIAL):  # a full disk may have cost a recording
            problems.append(f"the server ended with status {entry['status']} when told to end")
    for entry in evidence.of("left"):
        problems += [f"left behind: {name}" for name in entry["names"] if _is_unfinished(name)]
    return problems


def _is_unfinished(name: str) -> bool:
    """Whether a file must not remain after two starts and two orderly ends; damaged ones remain for inspection."""
    return name.endswith((".tmp", ".part")) or (name.endswith(".journal") and not name.startswith("damaged_"))


def recovered(evidence: Evidence) -> list[str]:
    """After the last fault all work finishes, and another scan goes through."""
    problems = []
    for entry in evidence.of("calm"):
        if not entry["reached"]:
            problems.append(f"the server did not come to rest; journals left: {entry['journals']}")
    ended = [entry for entry in evidence.of("sender_ended") if entry["uid"] == "chaos-last"]
    if any(True for _ in evidence.of("healed")) and not (ended and ended[-1]["safe"]):
        problems.append("the scan after the last fault did not become safe")
    problems += ["the page does not come back" for entry in evidence.of("page_at_last") if not entry["answered"]]
    return problems


def flat_use(evidence: Evidence) -> list[str]:
    """Memory, threads and handles at the end are at the level of the beginning."""
    problems = []
    for role, name, values in used(evidence):
        third = len(values) // 3
        if third < 5:
            continue
        early, late = median(values[:third]), median(values[-third:])
        factor, more = ALLOWED[name]
        if late > factor * early + more:
            problems.append(f"{name} of {role} rose from {early:.0f} to {late:.0f}")
    return problems


def used(evidence: Evidence) -> Iterator[tuple[str, str, list[float]]]:
    """(role, quantity, values in order of time) of the long-lived processes."""
    series: dict[tuple[str, str], list[float]] = defaultdict(list)
    for entry in evidence.of("used"):
        for name in ALLOWED:
            series[entry["role"], name].append(entry[name])
    for (role, name), values in series.items():
        yield role, name, values


def nothing_internal(evidence: Evidence) -> list[str]:
    """No traceback, crash or internal error: not in the log, in an answer, or in a notification."""
    problems = [f"log: {line}" for line in evidence.log.splitlines() if LOUD.search(line)]
    for entry in evidence.of("request", "said", "refinement"):
        text = f"{entry.get('error', '')} {entry.get('message', '')}"
        if LOUD.search(text):
            problems.append(f"{entry.get('command', entry['kind'])}: {text.strip()}")
    return problems


CHECKS = (
    acknowledged_frames,
    unmixed_recordings,
    finished_refinements,
    answered_requests,
    recovered,
    no_orphans,
    flat_use,
    nothing_internal,
)


def _frames_by_token(evidence: Evidence) -> defaultdict[int, set[int]]:
    stored: defaultdict[int, set[int]] = defaultdict(set)
    for file in evidence.stored:
        for token, numbers in file.get("frames", {}).items():
            stored[int(token)].update(numbers)
    return stored


def _sent_together(evidence: Evidence, wanted: set[int]) -> bool:
    """Whether these scans were sent at the same time; a killed sender ended when it was killed."""
    over = ("sender_ended", "sender_killed")
    began = {entry["token"]: entry["t"] for entry in evidence.of("sender_began") if entry["token"] in wanted}
    ended = {entry["token"]: entry["t"] for entry in evidence.of(*over) if entry["token"] in wanted}
    return len(began) == len(wanted) and max(began.values()) < min(ended.get(one, math.inf) for one in wanted)


def _stem(name: str) -> str:
    """Common stem of a scan's files: recording, journal, results, and a refinement waiting for its place."""
    plain = PENDING.sub("", Path(name).name)
    return plain.removesuffix(".journal").removesuffix(".h5").removesuffix("_results")


def _overlap(began: float, ended: float, times: Iterable[tuple[float, float]]) -> float:
    return sum(max(0.0, min(ended, stop) - max(began, start)) for start, stop in times)
