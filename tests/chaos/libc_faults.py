"""Controls of the preloaded library (libc_faults.c): a full disk, a slow disk, a wall clock that jumps."""

import mmap
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_suffix(".c")
FULL, WRITE_US, SYNC_US, CLOCK_NS = range(4)
_SWITCHES = 4


@dataclass
class LibcFaults:
    """Makes disk and clock faulty for processes started with ``environment``. ``folder``: whose disk."""

    library: Path
    switches: Path
    folder: Path
    _memory: mmap.mmap

    @classmethod
    def build(cls, work: Path, folder: Path) -> Self | None:
        """None if there is no C compiler, or the library cannot be loaded (another libc, another system)."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return None
        library, switches = work / "libc_faults.so", work / "switches"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        if subprocess.run(command, capture_output=True).returncode != 0:
            return None
        switches.write_bytes(bytes(8 * _SWITCHES))
        with switches.open("r+b") as file:
            made = cls(library, switches, folder.resolve(), mmap.mmap(file.fileno(), 8 * _SWITCHES))
        return made if made._works() else None

    @property
    def environment(self) -> dict[str, str]:
        """Environment that a process needs for these faults."""
        return {
            "LD_PRELOAD": str(self.library),
            "CHAOS_SWITCHES": str(self.switches),
            "CHAOS_FOLDER": str(self.folder),
        }

    def set(self, switch: int, value: int) -> None:
        """Apply from now on, in every process."""
        struct.pack_into("<q", self._memory, 8 * switch, value)

    def heal(self) -> None:
        """Remove all faults."""
        for switch in range(_SWITCHES):
            self.set(switch, 0)

    def _works(self) -> bool:
        """Whether a shifted clock is visible to processes."""
        self.set(CLOCK_NS, -(10**18))
        seen = subprocess.run(["date", "+%s"], env={**os.environ, **self.environment}, capture_output=True, text=True)
        self.heal()
        return seen.returncode == 0 and int(seen.stdout) < 1_000_000_000
