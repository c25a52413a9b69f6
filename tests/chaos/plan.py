"""Plan of faults and their times: drawn from a seed, so that the same seed gives the same plan."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

FAULTS = (
    "kill",
    "pause",
    "disk_full",
    "disk_slow",
    "clock",
    "network",
    "duplicate",
    "stray",
    "sender",
    "damage",
    "page",
)
"""Faults for `--only` to choose from; scans and clients are always present."""
TARGETS = ("acquire", "dashboard", "supervisor", "recorder", "refinement", "warm-up", "helper")
KILLED = (3, 2, 1, 4, 4, 1, 2)
"""How often each is killed: the longer a process lives undisturbed, the more it can leak."""
DAMAGES = (
    "flipped_recording",
    "flipped_results",
    "flipped_journal",
    "cut_recording",
    "cut_results",
    "attribute_loop",
    "empty",
    "text",
    "dangling_link",
    "link_loop",
    "folder",
    "fifo",
    "fifo_journal",
    "odd_hdf5",
    "huge_sparse",
    "odd_name",
)
NETWORK = ("cut", "cut_often", "stalled", "slow", "sliced")
SCAN_EVERY_S = (3.0, 8.0)
QUIET_S = 15.0
"""Pause at the beginning, while the first scan compiles and fills caches."""
RATE = {"kill": 14, "pause": 25, "disk_full": 45, "disk_slow": 40, "clock": 45, "network": 20, "damage": 12, "page": 4}
"""Mean seconds between two events of a kind."""


@dataclass(frozen=True)
class Event:
    """An event and its time, s from the beginning."""

    at: float
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.kind:10s} {', '.join(f'{k}={v}' for k, v in self.facts.items())}"


def draw(seed: int, seconds: float, only: tuple[str, ...] = FAULTS) -> list[Event]:
    """The plan of a run, in order of time. Every kind has its own random numbers: omitting one changes no other."""
    events = [*_scans(seed, seconds, only)]
    for kind, every in RATE.items():
        if kind in only:
            events += _faults(kind, random.Random(f"{seed}-{kind}"), seconds, every)
    return sorted(events, key=lambda event: event.at)


def _scans(seed: int, seconds: float, only: tuple[str, ...]) -> Iterator[Event]:
    """Scans one after the other, now and then two at once, under a uid that is taken, or announced and abandoned."""
    chance = random.Random(f"{seed}-scans")
    at, token = 0.5, 0
    while at < seconds:
        token += 1
        variant = chance.choices(("plain", "beside", "duplicate", "stray", "sender"), (10, 2, 2, 2, 2))[0]
        facts = {"token": seed * 100_000 + token, "frames_per_s": round(chance.uniform(40, 300))}
        facts["other_header"] = chance.random() < 0.5
        facts["killed_after"] = round(chance.uniform(0.3, 2.5), 2)
        facts["returns"] = chance.random() < 0.7
        if variant not in ("plain", "beside") and variant not in only:
            variant = "plain"
        began = at
        at += chance.uniform(*SCAN_EVERY_S) if variant not in ("beside", "stray") else chance.uniform(0.2, 1.0)
        if at >= seconds and variant == "stray":
            variant = "plain"  # an announced scan at the end would rightly wait for its frames forever
        yield Event(round(began, 2), "scan", {"variant": variant, **facts})


def _faults(kind: str, chance: random.Random, seconds: float, every: float) -> Iterator[Event]:
    at = QUIET_S * (kind != "page") + chance.expovariate(1 / every)
    while at < seconds:
        yield Event(round(at, 2), kind, FACTS[kind](chance))
        at += chance.expovariate(1 / every)


def _kill(chance: random.Random) -> dict[str, Any]:
    return {"target": chance.choices(TARGETS, KILLED)[0], "chosen": chance.randrange(100)}


def _pause(chance: random.Random) -> dict[str, Any]:
    return {"target": chance.choice(TARGETS), "seconds": round(chance.uniform(0.5, 6), 1)}


def _disk_full(chance: random.Random) -> dict[str, Any]:
    return {"seconds": round(chance.uniform(0.5, 8), 1)}


def _disk_slow(chance: random.Random) -> dict[str, Any]:
    delays = {"write_ms": chance.choice((0, 2, 20, 200)), "sync_ms": chance.choice((20, 200, 2000))}
    return {**delays, "seconds": round(chance.uniform(2, 10), 1)}


def _clock(chance: random.Random) -> dict[str, Any]:
    jump = chance.choice((-86_400, -3_600, -5, -0.5, 0.5, 5, 3_600, 86_400, 40 * 365 * 86_400))
    return {"jump_s": jump, "seconds": round(chance.uniform(2, 20), 1)}


def _network(chance: random.Random) -> dict[str, Any]:
    ways = {"way": chance.choice(("data", "control")), "how": chance.choice(NETWORK)}
    return {**ways, "seconds": round(chance.uniform(0.5, 6), 1)}


def _damage(chance: random.Random) -> dict[str, Any]:
    return {"what": chance.choice(DAMAGES), "seed": chance.randrange(2**31)}


def _page(chance: random.Random) -> dict[str, Any]:
    return {"how": chance.choice(("reload", "get", "watch", "metrics")), "seconds": round(chance.uniform(1, 15), 1)}


FACTS = {
    "kill": _kill,
    "pause": _pause,
    "disk_full": _disk_full,
    "disk_slow": _disk_slow,
    "clock": _clock,
    "network": _network,
    "damage": _damage,
    "page": _page,
}
