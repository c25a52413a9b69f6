"""Run the tests as on other machines: other processors, busy, in random order, other places, another user.

    make check-machines
    python tools/check_machines.py --only openblas-nehalem --only random --tests tests/engine
    python tools/check_machines.py --seed 7 --only random      # the same order again
    python tools/check_machines.py --only openblas-zen+spaces  # both in one run
    python tools/check_machines.py --together                  # all settings in five runs

Each setting is one run of pytest; settings joined by ``+`` share a run, which is red if any of them is. Logs stay in
build/machines. The last lines are a table of all settings and the tests that failed. Exit status: 0 when every setting
that this machine has was green, 1 when a test failed, 2 when no setting could be tried. A setting that is not available
here is listed with the reason (docs/testing.md).
"""

from __future__ import annotations

import argparse
import functools
import os
import pwd
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from machine_settings import ROOT, SETTINGS, NotHereError, Place, Run, Setting, chosen, known

LOGS = ROOT / "build" / "machines"
SHARED_DATA = ROOT.parent / "shared" / "data"
AT_A_TIME = 3
"""Tests run in parallel, as by ``make test``."""


@dataclass(frozen=True)
class Outcome:
    """Result of one setting."""

    name: str
    passed: int = 0
    failed: tuple[str, ...] = ()
    skipped: int = 0
    seconds: float = 0.0
    missing: str = ""
    """Why it could not be tried; empty if it was."""

    @property
    def word(self) -> str:
        """One word for the table."""
        if self.missing:
            return "not here"
        return "red" if self.failed else "green"


def check(setting: Setting, run: Run) -> Outcome:
    """Run the tests under one setting."""
    started = time.monotonic()
    took = functools.partial(lambda: time.monotonic() - started)
    try:
        with setting.prepare(run) as place:
            status, report = _pytest(setting, run, place)
    except NotHereError as error:
        return Outcome(setting.name, missing=str(error))
    except subprocess.CalledProcessError as error:
        return Outcome(setting.name, failed=(f"could not be prepared: {error}",), seconds=took())
    return _outcome(setting.name, status, report, took())


def _pytest(setting: Setting, run: Run, place: Place) -> tuple[int, Path]:
    """Exit status of pytest and its report (absent when it died)."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log, report = LOGS / f"{setting.name}.log", run.scratch / "reports" / f"{setting.name}.xml"
    report.parent.mkdir(exist_ok=True)
    report.parent.chmod(0o777)  # an ordinary user writes there too
    command = [place.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["-n", str(AT_A_TIME), "--dist", "load"]
    seed = [f"--randomly-seed={run.seed}"] if "randomly" in setting.arguments else []
    environment = os.environ | place.environment
    if SHARED_DATA.is_dir():
        environment.setdefault("PTYLIVE_SHARED_DATA", str(SHARED_DATA))
    with log.open("wb") as out:
        completed = subprocess.run(
            [*command, *setting.arguments, *seed, *run.more, *run.tests],
            cwd=place.root,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=place.limit,
            user=place.user,
            group=place.user if place.user is None else pwd.getpwuid(place.user).pw_gid,
            extra_groups=None if place.user is None else [],
            check=False,
        )
    return completed.returncode, report


def _outcome(name: str, status: int, report: Path, seconds: float) -> Outcome:
    """Parse pytest's report. A run that ends other than with passed or failed tests is itself a failure."""
    failed, skipped, total = [], 0, 0
    cases = ET.parse(report).getroot().iter("testcase") if report.exists() else ()
    for case in cases:
        total += 1
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
        skipped += "skipped" in kinds
    if status not in (0, 1) or (status == 1 and not failed):
        failed.append(f"pytest ended with status {status}: {LOGS / name}.log")
    return Outcome(name, total - skipped - len(set(failed)), tuple(dict.fromkeys(failed)), skipped, seconds)


def table(outcomes: list[Outcome]) -> str:
    """All settings, and below them the tests that failed in each."""
    wide = max((len(outcome.name) for outcome in outcomes), default=18)
    lines = [f"{'setting':<{wide}} {'':<9} {'passed':>6} {'failed':>6} {'skipped':>7} {'seconds':>7}"]
    for outcome in outcomes:
        numbers = f"{outcome.passed:>6} {len(outcome.failed):>6} {outcome.skipped:>7} {outcome.seconds:>7.0f}"
        lines.append(f"{outcome.name:<{wide}} {outcome.word:<9} {outcome.missing or numbers}")
    for outcome in outcomes:
        lines += [f"{outcome.name}: {test}" for test in outcome.failed]
    return "\n".join(lines)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; anything after ``--`` is passed to pytest."""
    names = ", ".join(setting.name for setting in SETTINGS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", type=known, metavar="NAME[+NAME]", help=names)
    parser.add_argument("--together", action="store_true", help="all settings, in as few runs as possible")
    parser.add_argument("--tests", action="append", default=[], metavar="PATH", help="default: the whole suite")
    parser.add_argument("--seed", type=int, default=None, help="of the random order; drawn and printed by default")
    parser.add_argument("--list", action="store_true", help="say what each setting is, and run nothing")
    own_arguments, pytest_arguments = (arguments, []) if "--" not in arguments else _split(arguments)
    found = parser.parse_args(own_arguments)
    found.more = pytest_arguments
    return found


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    index = arguments.index("--")
    return arguments[:index], arguments[index + 1 :]


def main(arguments: list[str]) -> int:
    """Run the requested settings, one after another."""
    options = parse(arguments)
    if options.list:
        print("\n".join(f"{setting.name:<18} {setting.about}" for setting in SETTINGS))
        return 0
    seed = random.randrange(2**32) if options.seed is None else options.seed
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptylive-machines-")))
        scratch.chmod(0o755)
        run = Run(scratch, seed, tuple(options.tests), tuple(options.more))
        for setting in chosen(options.only, options.together):
            print(f"{setting.name}: {setting.about} (seed {seed})", flush=True)
            outcomes.append(check(setting, run))
            print(f"  {outcomes[-1].word}: {len(outcomes[-1].failed)} failed", flush=True)
    print(table(outcomes))
    if all(outcome.missing for outcome in outcomes):
        return 2
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
