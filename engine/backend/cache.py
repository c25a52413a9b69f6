"""Where compiled code is cached between runs.

numba notices a change of the file that holds a compiled function, but not of the files of functions it calls. The
folder is therefore keyed on a hash of all sources that may be compiled, so that no version uses another's machine code.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

import platformdirs

from ptylive.engine.backend.code_cache import make_cache_safe
from ptylive.engine.backend.whole_vectors import use_whole_vectors
from ptylive.schema.errors import PtyliveError

COMPILED_FOLDERS = ("engine/backend", "streamer/fast")
"""numba is imported nowhere else (import contracts in pyproject.toml)."""
CONSTANT_FILES = ("schema/detector.py", "streamer/marks.py", "streamer/wire/limits.py")
"""Files elsewhere with constants that are compiled in."""


PACKAGE = Path(__file__).resolve().parents[2]


def use_persistent_cache() -> Path:
    """Point numba's on-disk cache at the user's cache folder, and compile for the widest vectors of this machine.

    Call at the start of a process, before compiling.

    An existing NUMBA_CACHE_DIR is respected. If nothing can be written there (a read-only home, as in cluster jobs), a
    folder owned by this user among temporary files is used, because numba refuses to start without one. Returns the
    folder. Raises PtyliveError if that fails as well.
    """
    make_cache_safe()
    use_whole_vectors()
    configured = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(configured) if configured else Path(platformdirs.user_cache_dir("ptylive")) / "numba" / source_hash()
    if not _takes_files(folder):
        folder = _temporary(folder)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.config.CACHE_DIR = str(folder)
    return folder


def _takes_files(folder: Path) -> bool:
    """Return whether files can be written into a folder, which is created if necessary."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _temporary(instead_of: Path) -> Path:
    """Return a folder that nobody else can write into, because code is run from it. Raises PtyliveError."""
    try:
        folder = Path(tempfile.gettempdir()) / f"ptylive-compiled-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            inside = folder / source_hash()
            if _takes_files(inside):
                return inside
    except OSError:
        pass
    raise PtyliveError(
        f"compiled code can be stored neither in {instead_of} nor in the folder for temporary files",
        "set NUMBA_CACHE_DIR to a writable folder",
    )


def source_hash() -> str:
    """Return sixteen hexadecimal digits of the hash of every Python file with code or constants to be compiled."""
    digest = hashlib.sha256()
    files = [path for folder in COMPILED_FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))]
    for path in [*files, *(PACKAGE / name for name in CONSTANT_FILES)]:
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compiled_mark(name: str) -> Path:
    """Return the path of an empty file next to the compiled code that marks ``name`` as compiled: for this CPU, this
    numba, and this installation, since numba separates code compiled from files in different places.

    A cache folder may be shared by machines, and outlives an update: numba then compiles again.
    """
    folder = use_persistent_cache()
    import llvmlite.binding as llvm
    import numba

    processor = numba.config.CPU_NAME or llvm.get_host_cpu_name()
    features = numba.config.CPU_FEATURES or llvm.get_host_cpu_features().flatten()
    built_for = (numba.__version__, sys.version_info[:2], processor, features, str(PACKAGE))
    return folder / f"{name}-{hashlib.sha256(repr(built_for).encode()).hexdigest()[:12]}.compiled"
