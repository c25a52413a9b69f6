"""numba with a full cache folder or damaged cache files compiles without any message."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ptylive.engine.backend import kept_code

FUNCTION = "import numba\n\n\n@numba.njit(cache=True)\ndef doubled(x):\n    return 2 * x\n"
PROGRAM = """
import sys
{first}
from ptylive.engine.backend import kept_code
kept_code.forgive()
kept_code.forgive()
import resource
if {full}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # a write beyond it fails, as on a full disk
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, {folder!r})
from function import doubled
assert doubled(3) == 6
sys.stdout.write(str(sum(doubled.stats.cache_hits.values())))
"""


def hits(folder: Path, *, full: bool = False, first: str = "") -> int:
    """Return how often a program found its function already compiled."""
    (folder / "function.py").write_text(FUNCTION)
    os.utime(folder / "function.py", (0, 0))  # numba compares the modification time
    program = PROGRAM.format(folder=str(folder), full=full, first=first)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kept"), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=False, timeout=120, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return int(ended.stdout)


class Files:
    """Stands for numba's class that stores one function, and raises the given error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.emptied, self.kept = error, 0, {}

    def save(self, key: str, data: str) -> None:
        if self.error is not None:
            raise self.error
        self.kept[key] = data

    def load(self, key: str) -> str | None:
        if self.error is not None:
            raise self.error
        return self.kept.get(key)

    def flush(self) -> None:
        self.emptied += 1


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> type[Files]:
    """The class with the patch applied."""
    loaded = ModuleType(kept_code.CACHING)
    loaded.IndexDataCacheFile = type("Changed", (Files,), {})
    monkeypatch.setitem(sys.modules, kept_code.CACHING, loaded)
    others = [finder for finder in sys.meta_path if getattr(finder, "name", "") != kept_code.CACHING]
    monkeypatch.setattr(sys, "meta_path", list(others))
    kept_code.forgive()
    kept_code.forgive()
    assert len(sys.meta_path) == len(others) + 1
    return loaded.IndexDataCacheFile


def test_what_is_whole_is_kept(files: type[Files]) -> None:
    one = files()
    one.save("key", "code")
    assert (one.load("key"), one.load("other"), one.emptied) == ("code", None, 0)


def test_what_cannot_be_written_is_not_kept(files: type[Files]) -> None:
    files(OSError(28, "No space left on device")).save("key", "code")
    with pytest.raises(ZeroDivisionError):  # not caused by the disk
        files(ZeroDivisionError()).save("key", "code")


def test_what_cannot_be_read_is_not_there(files: type[Files]) -> None:
    one = files(EOFError())
    assert one.load("key") is None
    assert one.emptied == 1  # otherwise saving the index would fail, too


@pytest.mark.slow
def test_a_full_disk_keeps_nothing_and_ends_nothing(tmp_path: Path) -> None:
    assert hits(tmp_path, full=True) == 0
    assert hits(tmp_path) == 0
    assert hits(tmp_path) == 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 20])
@pytest.mark.parametrize("first", ["", "import numba"])
def test_a_damaged_file_is_compiled_anew_and_then_kept(suffix: str, left: int, first: str, tmp_path: Path) -> None:
    assert hits(tmp_path, first=first) == 0
    (file,) = (tmp_path / "kept").rglob(f"*.{suffix}")
    os.truncate(file, left)
    assert hits(tmp_path, first=first) == 0
    assert hits(tmp_path, first=first) == 1
