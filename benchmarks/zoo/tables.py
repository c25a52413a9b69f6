"""Results of the zoo as a table for readers."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Draw, program, figures."""


def hardware() -> str:
    """Date, processor and Python."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{date.today()}, {model}, one thread, Python {platform.python_version()}"


def table(rows: Rows, programs: Sequence[str]) -> str:
    """Markdown: a line for each draw, then a summary of all of them."""
    heads = [f"{program} | at best blur | FRC ½, Å | CPU s" for program in programs]
    halves = any("halves_corr" in found for row in rows.values() for found in row.values())
    heads += ["halves: correlation, FRC 0.143 Å"] if halves else []
    lines = [f"| draw | {' | '.join(heads)} |", "|---" * (1 + 4 * len(programs) + halves) + "|"]
    for draw, row in rows.items():
        cells = [_cells(row.get(program)) for program in programs]
        cells += [_half_cell(row)] if halves else []
        lines.append(f"| {draw} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *summary(rows, programs), *reasons(rows, programs)])


def reasons(rows: Rows, programs: Sequence[str]) -> list[str]:
    """Why runs failed; once for all draws if a program is not installed."""
    lines = []
    for program in programs:
        found = {draw: row[program] for draw, row in rows.items() if "error" in row.get(program, {})}
        lines += sorted({f"- {program}: {entry['error']}" for entry in found.values() if entry.get("skipped")})
        lines += [f"- {draw}, {program}: {e['error']}" for draw, e in found.items() if not e.get("skipped")]
    return lines


def _cells(found: Mapping[str, Any] | None) -> str:
    if found is None or found.get("skipped"):
        return "– | – | – | –"
    if "corr" not in found:
        return f"failed | – | – | {found.get('cpu_s', '–')}"
    period = found.get("frc_half_A")
    return f"{found['corr']:.3f} | {found['corr_best_blur']:.3f} | {period or '–'} | {found['cpu_s']:.0f}"


def _half_cell(row: Mapping[str, Mapping[str, Any]]) -> str:
    found = next((f for f in row.values() if "halves_corr" in f), None)
    return "–" if found is None else f"{found['halves_corr']:.3f}, {found['halves_frc_A'] or '–'}"


def summary(rows: Rows, programs: Sequence[str]) -> list[str]:
    """Medians, and the first program relative to the best of the others that ran on the same draw."""
    lines = []
    for program in programs:
        found = [row[program] for row in rows.values() if "corr" in row.get(program, {})]
        if found:
            corr = statistics.median(f["corr"] for f in found)
            spent = statistics.median(f["cpu_s"] for f in found)
            lines.append(f"- {program}: median correlation {corr:.3f} over {len(found)} draws, {spent:.0f} CPU s")
    peer_names = [program for program in programs[1:] if not program.startswith("ours")]
    gains = gains_over(rows, programs[0], peer_names)
    if gains:
        ahead = sum(gain > 0 for gain in gains)
        lines.append(
            f"- {programs[0]} against the best of {', '.join(peer_names)}: ahead on {ahead} of {len(gains)}, "
            f"median gain {statistics.median(gains):+.3f}, worst {min(gains):+.3f}"
        )
    return lines


def gains_over(rows: Rows, program: str, peer_names: Sequence[str]) -> list[float]:
    """Correlation of a program minus that of the best other one, if both have one; a failed run counts as 0."""
    gains = []
    for row in rows.values():
        peer_corrs = [row[peer_name]["corr"] for peer_name in peer_names if "corr" in row.get(peer_name, {})]
        if peer_corrs and program in row:
            gains.append(row[program].get("corr", 0.0) - max(peer_corrs))
    return gains
