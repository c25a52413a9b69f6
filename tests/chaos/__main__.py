"""``python -m chaos [--seed N] [--minutes M] [--only FAULT,...] [--plan]``: exit status 0 if everything holds."""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos.checks import CHECKS, Evidence
from chaos.history import read
from chaos.plan import FAULTS, draw
from chaos.report import summary
from chaos.run import Run, compile_ahead

READING_S = 600.0
MOST_SHOWN = 12


def main() -> int:
    """Plan, run and check."""
    options = _options()
    only = tuple(options.only.split(",")) if options.only else FAULTS
    if unknown := set(only) - set(FAULTS):
        print(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
        return 2
    seconds = 60 * options.minutes
    plan = draw(options.seed, seconds, only)
    print(f"seed {options.seed}: {len(plan)} events in {options.minutes:g} min, faults: {', '.join(only)}")
    chosen = f" ONLY={options.only}" if options.only else ""
    print(f"again: make chaos SEED={options.seed} MINUTES={options.minutes:g}{chosen}")
    if options.plan:
        print(*plan, sep="\n")
        return 0
    work = Path(tempfile.mkdtemp(prefix=f"chaos-{options.seed}-"))
    print(f"everything in {work}", flush=True)
    (work / "plan.txt").write_text("\n".join(map(str, plan)) + "\n", encoding="utf-8")
    began = time.monotonic()
    run = Run(work, options.seed, plan, seconds)
    if run.libc is None:
        print("NOT COVERED: full and slow disk, clock (no C compiler, or a preloaded library does not act here)")
    if not options.cold:
        compile_ahead()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # so that started processes are ended
    run.carry_out()
    print(f"{time.monotonic() - began:.0f} s; looking at what is stored", flush=True)
    log = (work / "server.log").read_text("utf-8", "replace")
    status = judged(Evidence(list(read(run.history.path)), _stored(work), log))
    if status == 0:
        shutil.rmtree(work)
    return status


def judged(evidence: Evidence) -> int:
    """Print the findings; return 0 if nothing is wrong."""
    print(summary(evidence))
    failed = 0
    for check in CHECKS:
        problems = check(evidence)
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'holds '}  {(check.__doc__ or '').splitlines()[0]}")
        for line in problems[:MOST_SHOWN]:
            print(f"        {line}")
        if len(problems) > MOST_SHOWN:
            print(f"        … {len(problems)} in all")
    return min(failed, 1)


def _stored(work: Path) -> list[dict[str, object]]:
    """What is on disk, read in another process."""
    command = [sys.executable, "-m", "chaos.stored", str(work / "recordings"), str(work / "history.jsonl")]
    with (work / "stored.jsonl").open("w") as out:
        subprocess.run(command, stdout=out, check=True, timeout=READING_S)
    return list(read(work / "stored.jsonl"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", default="", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--plan", action="store_true", help="print the plan and end")
    parser.add_argument("--cold", action="store_true", help="do not fill the compile cache first")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
