"""Summary of a run in numbers."""

from collections import Counter
from statistics import median

import numpy as np

from chaos.checks import TARGET_S, Evidence, outages, used


def summary(evidence: Evidence) -> str:
    """Lines of text for a reader."""
    return "\n".join(
        (_events(evidence), _scans(evidence), _refinements(evidence), *_requests(evidence), *_use(evidence))
    )


def _events(evidence: Evidence) -> str:
    done = Counter(entry["target"] for entry in evidence.of("killed"))
    dropped = sum(1 for entry in evidence.of("dropped") if entry["name"])
    lost = outages(evidence)["lost"]
    text = (
        f"killed: {', '.join(f'{n} {role}' for role, n in sorted(done.items())) or 'nothing'}; {dropped} damaged files"
    )
    return f"{text}; server away {len(lost)} times, {sum(stop - start for start, stop in lost):.0f} s in all"


def _scans(evidence: Evidence) -> str:
    began = {(entry["uid"], entry["token"]) for entry in evidence.of("sender_began")}
    safe = {(entry["uid"], entry["token"]) for entry in evidence.of("sender_ended") if entry["safe"]}
    frames = sum(stop - start for entry in evidence.of("acknowledged") for start, stop in entry["ranges"])
    stored = sum(len(numbers) for file in evidence.stored for numbers in file.get("frames", {}).values())
    return f"{len(began)} scans, {len(safe)} safe as a whole; {frames} frames acknowledged, {stored} stored"


def _refinements(evidence: Evidence) -> str:
    states = Counter(entry["state"] for entry in evidence.of("refinement"))
    if not states["done"]:
        return "NOT COVERED: no refinement came to its end, so none could be looked for"
    kept = sum(len(file["runs"]) for file in evidence.stored if file["what"] == "results")
    return f"refinements: {', '.join(f'{n} {state}' for state, n in states.items()) or 'none'}; {kept} in results files"


def _requests(evidence: Evidence) -> list[str]:
    """How long answers took while no process was missing."""
    gaps = [*outages(evidence)["lost"], *outages(evidence)["paused"]]
    lines = []
    for who, kind in (("commands", False), ("pages", True)):
        entries = [entry for entry in evidence.of("request") if (entry["who"] == "page") is kind]
        seconds = [
            entry["seconds"]
            for entry in entries
            if entry["outcome"] in ("answered", "refused")
            and not any(start < entry["began"] + entry["seconds"] and entry["began"] < stop for start, stop in gaps)
        ]
        outcomes = ", ".join(f"{n} {what}" for what, n in Counter(entry["outcome"] for entry in entries).items())
        lines.append(f"{len(entries)} {who} ({outcomes}){_spread(seconds)}")
    return lines


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return ""
    half, most, worst = np.quantile(seconds, (0.5, 0.99, 1.0))
    late = sum(one > TARGET_S for one in seconds)
    return f": median {half:.3f} s, 99 % {most:.2f} s, longest {worst:.2f} s, {late} above {TARGET_S:g} s"


def _use(evidence: Evidence) -> list[str]:
    lines = []
    for role, name, values in used(evidence):
        third = max(1, len(values) // 3)
        lines.append(f"{role} {name}: {median(values[:third]):.0f} at first, {median(values[-third:]):.0f} at last")
    return lines
