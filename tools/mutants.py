"""Plant one bug at a time in a copy of the tree and check whether the tests that should notice it do.

    make mutants
    python tools/mutants.py --jobs 3 --only lbfgs --only journal
    python tools/mutants.py --check          # only whether the list still fits the sources

The list (tests/mutants.toml) names for each source file the tests that guard it, and exact replacements of text that
occurs there once. First the named tests run on an unchanged copy, where all must be green; then once for each mutant.
Nothing in the checkout is changed: copies, and what numba compiles for them, are in build/mutants. Exit status: 0 every
mutant was noticed, 1 one survived (or its tests broke down instead of failing), 2 the list is out of date or the tests
are red without any mutant.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path("tests") / "mutants.toml"
SHARED_DATA = ROOT.parent / "shared" / "data"
PATIENCE_S, OF_A_TEST_S = 900.0, 120.0
"""Time limits of a run of a mutant's tests, and of one test: some mutants make a loop endless. Each takes seconds."""
OF_A_COMPILING_TEST_S = 600.0
"""Time limit of a test for which everything may have to be compiled: four minutes on a slow and busy machine."""
OF_ALL_S = 7200.0
"""Time limit of the tests of all mutants, one after the other, before anything is planted."""
GREEN, RED, NONE_RAN = 0, 1, 5
"""Exit statuses of pytest."""
SLOW = ("-m", "slow and not peers")


class ListError(Exception):
    """The list does not fit the tree; the message has a line for each entry."""


@dataclass(frozen=True)
class Mutant:
    """One bug: ``old`` becomes ``new`` in ``file``, and one of ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def planted(self, text: str) -> str:
        """The source with the bug."""
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """Result of a mutant's tests."""

    mutant: Mutant
    word: str
    """noticed, SURVIVED or BROKE DOWN (pytest ended otherwise than with passed or failed tests)."""
    seconds: float
    by: str = ""
    """The test that failed, or the last line of pytest if none did."""


def read_list(root: Path) -> list[Mutant]:
    """Every mutant of the list. Raises ListError if an entry is incomplete or does not fit the sources."""
    table = tomllib.loads((root / LIST).read_text())
    mutants, wrong = [], []
    for file, entry in table.items():
        if not entry.get("mutants"):
            wrong.append(f"{LIST}: {file}: no mutant is listed: drop the entry")
            continue
        for name, change in entry["mutants"].items():
            tests = change.get("tests", entry.get("tests", []))
            mutant = Mutant(f"{file}: {name}", file, change["old"], change["new"], tuple(tests))
            mutants.append(mutant)
            wrong += [f"{LIST}: {mutant.name}: {problem}" for problem in _problems(root, mutant)]
    if wrong:
        raise ListError("\n".join(wrong))
    return mutants


def _problems(root: Path, mutant: Mutant) -> list[str]:
    """What is wrong with an entry."""
    source = root / mutant.file
    if not source.is_file():
        return ["no such file: name the one to which the code moved, or drop the entry"]
    found = source.read_text().count(mutant.old)
    problems = []
    if found != 1:
        problems.append(f"its text stands there {found} times, not once: give that of the line as it is now")
    if mutant.old == mutant.new or "\n" in mutant.old + mutant.new:
        problems.append("old and new are one line each, and differ")
    if not mutant.tests:
        problems.append("no tests are named")
    missing = [test for test in mutant.tests if not (root / test.partition("::")[0]).is_file()]
    return problems + [f"no such tests: {name}" for name in missing]


class Copy:
    """A copy of all files that git tracks or would add, importable as ``ptylive`` through its own links.

    It is always in the same place, with the times of the sources, so that what numba compiled there stays valid.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        compiled = hashlib.sha256()
        known = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(known, cwd=source, capture_output=True, check=True).stdout.decode().split("\0")
        for name in sorted(set(names) - {""}):
            if not (source / name).is_file():  # deleted, but still tracked
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, folder / name)
            if name.endswith(".py") and b"numba" in (content := (source / name).read_bytes()):
                compiled.update(content)
        self.compiled = folder.with_name(f"{folder.name}-compiled") / compiled.hexdigest()[:16]
        for old in self.compiled.parent.glob("*"):
            if old != self.compiled:
                shutil.rmtree(old, ignore_errors=True)
        links = folder / "tools" / "link_tree.py"
        if links.exists():
            subprocess.run([sys.executable, str(links)], cwd=folder, capture_output=True, check=True)

    def judge(self, mutant: Mutant) -> Outcome:
        """Plant a mutant, run its tests (the slow ones only if the others stay green), and restore the source."""
        path = self.folder / mutant.file
        text, stat = path.read_text(), path.stat()
        path.write_text(mutant.planted(text))
        started = time.monotonic()
        compiled_anew = "numba" in text
        try:
            status, output = self.run(mutant.tests, compiled_anew)
            if slow := status in (GREEN, NONE_RAN):
                status, output = self.run((*SLOW, *mutant.tests), compiled_anew)
        finally:
            path.write_text(text)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # compiled code of the original remains valid
        if slow and status == RED and self.run((*SLOW, _first_failure(output)))[0] != GREEN:
            status = -1  # red without the mutant, too
        word = {GREEN: "SURVIVED", NONE_RAN: "SURVIVED", RED: "noticed"}.get(status, "BROKE DOWN")
        return Outcome(mutant, word, time.monotonic() - started, _first_failure(output))

    def run(self, tests: tuple[str, ...], compiled_anew: bool = False, of_all: bool = False) -> tuple[int, str]:
        """Run pytest on some tests up to the first failure; return exit status and output.

        ``compiled_anew``: without what is compiled already; ``of_all``: these are the tests of all mutants, the first
        in this copy. In both cases a test may compile, and has the time for it.
        """
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", *tests]
        with tempfile.TemporaryDirectory(prefix="ptylive-mutant-", ignore_cleanup_errors=True) as scratch:
            environment = {
                **os.environ,
                "PYTHONPATH": str(self.folder / "build" / "ns"),
                "PYTHONDONTWRITEBYTECODE": "1",  # a .pyc cannot distinguish two sources written within one second
                "NUMBA_CACHE_DIR": scratch if compiled_anew else str(self.compiled),
                "TMPDIR": scratch,
                "PYTEST_TIMEOUT": f"{OF_A_COMPILING_TEST_S if compiled_anew or of_all else OF_A_TEST_S:g}",
            }
            if SHARED_DATA.is_dir():
                environment.setdefault("PTYLIVE_SHARED_DATA", str(SHARED_DATA))
            patience_s = OF_ALL_S if of_all else PATIENCE_S
            return _ended(command, self.folder, environment, Path(scratch) / "said", patience_s)


def _ended(
    command: list[str], folder: Path, environment: dict[str, str], output: Path, patience_s: float
) -> tuple[int, str]:
    """Exit status and output of a command; processes that it leaves behind are ended with it without waiting."""
    with output.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return -1, f"no end after {patience_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, output.read_text(errors="replace")


def _first_failure(output: str) -> str:
    """The test that failed first, or the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(("FAILED ", "ERROR ")):
            return line.partition(" ")[2].partition(" - ")[0]
    return lines[-1] if lines else ""


def run(root: Path, mutants: list[Mutant], jobs: int) -> int:
    """Judge all mutants in ``jobs`` copies in parallel; print a line for each and a table, return the exit status."""
    folder = root / "build" / "mutants"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"another run is at work in {folder}: wait for it")
            return 2
        copies: queue.Queue[Copy] = queue.Queue()
        for number in range(min(jobs, len(mutants))):
            copies.put(Copy(root, folder / str(number)))
        return _judged(copies, mutants, jobs)


def _judged(copies: queue.Queue[Copy], mutants: list[Mutant], jobs: int) -> int:
    """Like :func:`run`, with existing copies."""
    first = copies.get()
    red = _unchanged(first, mutants)
    copies.put(first)
    if red:
        print(f"red without any mutant: {red}")
        return 2

    def judge(mutant: Mutant) -> Outcome:
        copy = copies.get()
        try:
            outcome = copy.judge(mutant)
        finally:
            copies.put(copy)
        print(f"  {outcome.word:10} {outcome.seconds:6.1f} s  {mutant.name}", flush=True)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(judge, mutants))
    _table(outcomes)
    return 0 if all(outcome.word == "noticed" for outcome in outcomes) else 1


def _unchanged(copy: Copy, mutants: list[Mutant]) -> str:
    """The test that fails in the unchanged copy, or the empty string."""
    every = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    status, output = copy.run(every, of_all=True)
    return "" if status == GREEN else _first_failure(output) or f"pytest ended with {status}"


def _table(outcomes: list[Outcome]) -> None:
    width = max(len(outcome.mutant.name) for outcome in outcomes)
    print(f"\n{'mutant':{width}}  outcome     seconds  by")
    for outcome in sorted(outcomes, key=lambda each: each.word == "noticed"):
        by = outcome.by if outcome.word != "SURVIVED" else f"{outcome.mutant.old}  ->  {outcome.mutant.new}"
        print(f"{outcome.mutant.name:{width}}  {outcome.word:10} {outcome.seconds:8.1f}  {by}")
    noticed = sum(outcome.word == "noticed" for outcome in outcomes)
    print(f"\n{noticed} of {len(outcomes)} mutants noticed")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--only", action="append", default=[], help="part of a mutant's file or name; may be repeated")
    parser.add_argument("--check", action="store_true", help="only see whether the list fits the sources")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to copy")
    options = parser.parse_args(arguments)
    try:
        mutants = read_list(options.root)
    except ListError as error:
        print(error)
        return 2
    chosen = [mutant for mutant in mutants if not options.only or any(part in mutant.name for part in options.only)]
    if not chosen:
        print(f"no mutant's name holds {' or '.join(options.only)}")
        return 2
    if options.check:
        print(f"{len(mutants)} mutants fit the sources")
        return 0
    return run(options.root, chosen, max(options.jobs, 1))


if __name__ == "__main__":
    sys.exit(main())
