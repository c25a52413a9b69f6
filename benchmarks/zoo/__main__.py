"""The zoo: scans on which nothing was tuned, refined by ours and by other programs, judged against the truth.

    python -m benchmarks.zoo --list
    python -m benchmarks.zoo --abtem-python ABTEM/bin/python --draws 0-7 --out table.md
    python -m benchmarks.zoo --programs ours ptyrad py4dstem --ptyrad-python ... --py4dstem-python ...
    python -m benchmarks.zoo --closed ...            # for the final report only
    python -m benchmarks.zoo --further ...           # specimens that no rule was made on

Run it from the root of the repository. Scans are simulated once, by abTEM, and kept under --cache with all results.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.zoo import ours, peers
from benchmarks.zoo.draws import COUNT, SEED, Draw, draw
from benchmarks.zoo.scans import default_cache, numbers, simulated
from benchmarks.zoo.tables import hardware, table

PROGRAMS = (*ours.WAYS, *peers.PEERS)
OTHER_SETS = {
    "closed": "the draws that only a final report looks at",
    "further": "draws of specimens that no rule was made on: heavy crystals, wedges, boundaries, much vacuum",
}


def main() -> None:
    given = arguments()
    draw_set = given.draw_set
    chosen = [draw(draw_set, index, given.seed) for index in numbers(given.draws)]
    print(f"seed {given.seed}, {draw_set} draws {given.draws}")
    if given.list:
        for drawn in chosen:
            print(f"{drawn.name}: {drawn.line()}")
        return
    rows: dict[str, dict[str, Any]] = {}
    windows = {drawn.pixels for drawn in chosen} if any(p in ours.WAYS for p in given.programs) else set()
    ours.warm(sorted(windows))
    for drawn in chosen:
        scan = simulated(drawn, given.cache, given.abtem_python)
        rows[drawn.name] = {}
        for program in given.programs:
            rows[drawn.name][program] = found = result(program, drawn, scan, given)
            print(
                f"{drawn.name}, {program}: {found.get('corr', found.get('error'))}, {found.get('cpu_s')} CPU s",
                flush=True,
            )
    if not given.programs:
        return
    text = f"{hardware()}; seed {given.seed}, {draw_set} draws.\n\n{table(rows, given.programs)}\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
        record = {"hardware": hardware(), "seed": given.seed, "set": draw_set, "settings": given.set, "rows": rows}
        given.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="say what is drawn, and end")
    sets = parser.add_mutually_exclusive_group()
    for name, meaning in OTHER_SETS.items():
        sets.add_argument(f"--{name}", action="store_const", const=name, dest="draw_set", help=meaning)
    parser.set_defaults(draw_set="development")
    parser.add_argument("--draws", default=f"0-{COUNT - 1}", help="numbers of draws, as 0-7,12 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=["ours"], help="none: only simulate")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours, to try it")
    parser.add_argument("--halves", action="store_true", help="refine halves of the data too, and compare them")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where scans and results are kept")
    parser.add_argument("--abtem-python", type=Path, default=Path(sys.executable), help="an interpreter that has abTEM")
    for peer in peers.PEERS:
        parser.add_argument(f"--{peer}-python", type=Path, help=f"an interpreter that has {peer}")
    parser.add_argument("--iterations", type=int, help="of other programs, instead of their own number")
    parser.add_argument("--out", type=Path, help="table as Markdown; beside it the same as JSON")
    return parser.parse_args()


def result(program: str, drawn: Draw, scan: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Figures of a program on a draw: kept from an earlier run, or new."""
    is_ours = program in ours.WAYS
    if is_ours:
        code = ours.code_key()
        key = "_".join([program, code, *given.set, *(["halves"] if given.halves else [])])
    else:
        key = f"{program}_{peers.key(program, given.iterations)}"
    folder = given.cache / "results" / key.replace(os.sep, "-")
    stored = folder / f"{scan.stem}.json"
    if stored.exists():
        return json.loads(stored.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    if is_ours:
        found = ours.run(program, scan, folder, given.set, halves=given.halves)
        if ours.code_key() != code:
            raise SystemExit(f"{drawn.name}: the code changed while it ran, so the result is nobody's; run it again")
    else:
        found = peers.run(program, scan, folder, getattr(given, f"{program}_python"), given.iterations)
    if not found.get("skipped"):
        folder.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
