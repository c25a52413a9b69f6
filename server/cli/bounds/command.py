"""A record of one machine: its bounds, the benchmark figures, and the share of its bound that each figure reaches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptylive.server.cli.bounds import measured, shares


def record(benches: Mapping[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """Measure bounds and benchmarks; a failing one is recorded with its error, and the others continue."""
    from ptylive.engine.backend.machine_numba import features
    from ptylive.server.cli.benchmarks import machine

    described = {**machine(), "features": features(), "threads": measured.threads()}
    bounds, missing = measured.measure()
    records: dict[str, dict[str, Any]] = {}
    for name, bench in benches.items():
        try:
            records[name] = bench()
        except Exception as error:  # report the others even if one benchmark cannot run here
            records[name] = {"bench": name, "error": f"{type(error).__name__}: {error}"}
    found, without = shares.shares(records, bounds)
    return {
        "bench": "bounds",
        "machine": described,
        "bounds": bounds,
        "figures": [share._asdict() for share in found],
        "not_measured": {**missing, **without},
        "records": records,
        "load_afterwards": machine()["load"],
    }


def show(record: Mapping[str, Any]) -> None:
    """Print a record for people: a table of bounds and one of shares, as in docs/performance.md."""
    about = record["machine"]
    sys.stdout.write(
        f"{about['cpu']}, {about['threads']} threads, {', '.join(about['features']) or 'no vector instructions known'},"
        f" Python {about['python']}, load {about['load']:.1f} to {record['load_afterwards']:.1f}\n\n"
    )
    _table(("bound", "measured"), [(name, _with_unit(name, value)) for name, value in record["bounds"].items()])
    rows = [
        (share["figure"], f"{share['value']:.3g}", share["bound"], f"{100 * share['share']:.0f} %", share["why"])
        for share in record["figures"]
    ]
    _table(("figure", "value", "bound", "share", "what the bound is"), rows)
    for name, why in record["not_measured"].items():
        sys.stdout.write(f"not measured: {name}: {why}\n")
    sys.stdout.flush()


def _with_unit(name: str, value: float) -> str:
    unit, size = measured.UNITS.get(name, ("GB/s", 1e9))
    return f"{value / size:.3g} {unit}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, ["---"] * len(head), *rows]
    sys.stdout.write("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n")
