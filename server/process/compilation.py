"""Compiled code for the first frames, made by child processes: compiling holds Python's lock for seconds at a time.

``python -m ptylive.server.process.compilation PIECE…`` compiles pieces into the persistent cache, prints each name
when it is ready, and ends with its parent. The acquire process starts it if a piece is missing, waits for it with the
frames in the ring, and then only loads the compiled code. It does so before processing the first frame, because
processing holds locks that `status` needs too.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy as np

from ptylive.engine.backend.cache import compiled_mark
from ptylive.schema import FrameBatch, ScanHeader
from ptylive.schema.plain_errors import say_unraisable_in_a_line, tell_parent
from ptylive.server.process.parent_watch import exit_with_parent
from ptylive.streamer.events import ArmEvent, RingItem
from ptylive.streamer.ring import RingReader

MAPS, VECTORS, RECEIVE = "maps", "vectors", "receive"
FRAMES, CODED, EVENTS = "frames", "coded", "events"
"""Forms in which raw frames arrive; the name of a piece has the type of their pixels, too."""
FIRST_GROUPS = (("frames_u2", "coded_u2"), (MAPS, VECTORS))
"""Pieces that a scan most probably needs, made at the start, each group by one process."""
LATER_GROUP = (
    RECEIVE,
    "events_u2",
    *(f"{form}_{dtype}" for dtype in ("u1", "u4") for form in (FRAMES, CODED, EVENTS)),
    "frames_f4",
)
"""Pieces made at low priority by a further process; if a scan waits for one, another process makes it at once."""
EVERYTHING = frozenset(piece for group in (*FIRST_GROUPS, LATER_GROUP) for piece in group)
LOW_PRIORITY = 10

log = logging.getLogger(__name__)


def main(pieces: Sequence[str]) -> int:
    """Compile the missing pieces; return the exit status."""
    say_unraisable_in_a_line("ptylive compilation")
    exit_with_parent()
    if RECEIVE in pieces:
        os.nice(LOW_PRIORITY)
    for piece in pieces:
        compile_missing(piece)
        tell_parent(piece)
    return 0


def compile_missing(piece: str) -> None:
    """Compile a piece into the persistent cache, unless it is there already."""
    mark = compiled_mark(piece)
    if not mark.exists():
        _compile(piece)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _compile(piece: str) -> None:
    from ptylive.engine.live import warm_up

    if piece == MAPS:
        warm_up.warm_up_maps()
    elif piece == VECTORS:
        warm_up.warm_up_vectors()
    elif piece == RECEIVE:
        from ptylive.streamer.fast.receive import CompiledLoop

        CompiledLoop.prepare()
    else:
        form, _, dtype = piece.partition("_")
        compile_form = {
            FRAMES: warm_up.warm_up_frames,
            CODED: warm_up.warm_up_coded,
            EVENTS: warm_up.warm_up_events,
        }[form]
        compile_form(np.dtype(dtype).str)


def pieces_for(header: ScanHeader, batch: FrameBatch | None = None) -> frozenset[str]:
    """Return the pieces needed for live maps of a scan; those for a batch of it depend on how its frames arrive."""
    if not header.basis.is_raw:
        return frozenset((MAPS, VECTORS))
    pixel = f"{header.frame_dtype.kind}{header.frame_dtype.itemsize}"
    forms = {FRAMES: True, CODED: batch is not None and batch.coded, EVENTS: batch is not None and batch.events}
    return frozenset((MAPS, *(f"{form}_{pixel}" for form, arrives in forms.items() if arrives)))


class Compilation:
    """Tracker of compiled pieces that has the rest compiled and reports the time taken. Callable from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._settled: set[str] = set()
        """Pieces that are compiled and loaded."""
        self._requested: set[str] = set()
        self._compiled: list[str] = []
        """Pieces that wait to be loaded."""
        self._needed: frozenset[str] = frozenset()
        self._hurried: set[str] = set()
        self._wanted_since: float | None = None
        self._loader: threading.Thread | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._closed = False

    def start(self) -> None:
        """Start compiling all common pieces; return at once."""
        for group in (*FIRST_GROUPS, LATER_GROUP):
            self._ask(group)

    def has(self, pieces: frozenset[str]) -> bool:
        """Return whether these pieces are ready; those not requested before are requested now."""
        self._ask(tuple(sorted(pieces)))
        with self._changed:
            return pieces <= self._settled

    def wait(self, pieces: frozenset[str], given_up: Callable[[], bool]) -> bool:
        """Wait for pieces that a scan needs; return False if ``given_up`` becomes true first, or if this is closed."""
        if self.has(pieces):
            self._wanted_since = None
            return True
        self._needed, self._wanted_since = pieces, self._wanted_since or time.monotonic()
        self._hurry(pieces)
        compiled = self.wait_quietly(pieces, given_up)
        if compiled or self._closed:
            self._wanted_since = None
        return compiled

    def wait_quietly(self, pieces: frozenset[str], given_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait likewise for pieces that delay nobody, without reporting it."""
        while not self.has(pieces):
            with self._changed:
                self._changed.wait(0.2)
            if self._closed or given_up():
                return False
        return True

    @property
    def closed(self) -> bool:
        """Whether nothing more will be compiled."""
        return self._closed

    @property
    def word(self) -> str:
        """Message about what is being waited for; empty if nothing."""
        since = self._wanted_since
        if since is None:
            return ""
        return f"compiling the live maps (first scan on this machine), {time.monotonic() - since:.0f} s so far"

    def close(self) -> None:
        """End the processes and all waiting."""
        with self._changed:
            self._closed, self._wanted_since = True, None
            processes, self._processes = self._processes, []
            self._changed.notify_all()
        for process in processes:
            with suppress(ProcessLookupError):
                process.terminate()
            process.wait()

    def _ask(self, pieces: Sequence[str]) -> None:
        with self._changed:
            fresh = [piece for piece in pieces if piece not in self._requested]
            if self._closed or not fresh:
                return
            self._requested.update(fresh)
            missing = [piece for piece in fresh if not compiled_mark(piece).exists()]
            self._load(piece for piece in fresh if piece not in missing)
            if not missing:
                return
            command = [sys.executable, "-m", "ptylive.server.process.compilation", *missing]
            process = subprocess.Popen(  # Ctrl-C reaches only this process, which ends the child
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
            )
            self._processes.append(process)
        threading.Thread(target=self._follow, args=(process, missing), name="compilation", daemon=True).start()

    def _hurry(self, pieces: frozenset[str]) -> None:
        """Start a process for needed pieces that the low-priority process has not made yet."""
        with self._changed:
            slow = pieces & set(LATER_GROUP) - self._hurried - self._settled
            self._hurried |= slow
            self._requested -= slow
        self._ask(tuple(sorted(slow)))

    def _follow(self, process: subprocess.Popen[str], pieces: Sequence[str]) -> None:
        assert process.stdout is not None  # noqa: S101  (we asked for the pipe)
        remaining = list(pieces)
        for line in process.stdout:
            if (piece := line.strip()) in remaining:
                remaining.remove(piece)
                self._load((piece,))
        if process.wait() != 0 and not self._closed:
            log.warning("a compiling process ended with status %d: compiling here", process.returncode)
        self._load(remaining)

    def _load(self, pieces: Iterable[str]) -> None:
        """Load pieces, or compile them if necessary, in a thread of this process."""
        with self._changed:
            self._compiled.extend(pieces)
            if self._compiled and self._loader is None:
                self._loader = threading.Thread(target=self._run_loader, name="loader", daemon=True)
                self._loader.start()
            self._changed.notify_all()

    def _run_loader(self) -> None:
        while not self._closed:
            with self._changed:
                if not self._compiled:
                    self._changed.wait(0.2)
                    continue
                piece = min(self._compiled, key=lambda name: name not in self._needed)
                self._compiled.remove(piece)
            if piece != RECEIVE:  # the receiver loads it
                try:
                    _compile(piece)
                except Exception:
                    log.exception("%s could not be compiled", piece)
            self._settle((piece,))

    def _settle(self, pieces: Sequence[str]) -> None:
        with self._changed:
            self._settled.update(pieces)
            self._changed.notify_all()


class CompiledReader:
    """A reader of the ring that holds back a scan's frames until the code that reduces them is compiled.

    The scan itself is passed on at once, so that it is shown. If the compilation is closed first, its frames are
    dropped.
    """

    def __init__(self, reader: RingReader, compilation: Compilation) -> None:
        self._reader, self._compilation = reader, compilation
        self._header: ScanHeader | None = None
        self._passed: frozenset[str] = frozenset()
        """Pieces of the current scan that are known to be ready."""
        self._held: RingItem | None = None

    @property
    def ring_fill(self) -> float:
        """Fraction of the ring in use, 0 to 1."""
        return self._reader.ring_fill

    @property
    def finished(self) -> bool:
        """Whether no further item will come."""
        return self._held is None and self._reader.finished

    def take(self, timeout_s: float) -> RingItem | None:
        """Return the next item; None if none is available in time."""
        item, self._held = self._held, None
        item = self._reader.take(timeout_s) if item is None else item
        if isinstance(item, ArmEvent):
            self._header, self._passed = item.header, frozenset()
        elif item is not None and self._header is not None and not self._may_pass(item, self._header, timeout_s):
            return None
        return item

    def _may_pass(self, item: RingItem, header: ScanHeader, timeout_s: float) -> bool:
        batch = item if isinstance(item, FrameBatch) else None
        needed = pieces_for(header, batch)
        if needed <= self._passed:
            return True
        if self._compilation.closed:
            return batch is None
        give_up = time.monotonic() + timeout_s
        if not self._compilation.wait(needed, lambda: time.monotonic() > give_up):
            self._held = item
            return False
        self._passed |= needed
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
