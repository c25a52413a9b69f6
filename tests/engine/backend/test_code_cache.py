"""numba compiles without a message where its cache is full or damaged, and next to other processes that compile."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from ptylive.engine.backend import code_cache

FUNCTION = "import numba\n\n\n@numba.njit(cache=True)\ndef doubled(x):\n    return 2 * x\n"
PROGRAM = """
import sys
{first}
from ptylive.engine.backend import code_cache
code_cache.make_cache_safe()
code_cache.make_cache_safe()
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

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self._cache_path, self.error, self.emptied, self.kept = str(folder), error, 0, {}

    def _dump(self, key: str) -> bytes:
        return key.encode()

    def _data_name(self, number: int) -> str:
        return f"function.{number}"

    def save(self, key: str, data: str) -> None:
        if self.error is not None:
            raise self.error
        self.kept[key] = data
        (Path(self._cache_path) / self._data_name(1)).write_text(data)

    def load(self, key: str) -> str | None:
        if self.error is not None:
            raise self.error
        return self.kept.get(key)

    def flush(self) -> None:
        self.emptied += 1


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> type[Files]:
    """The class with the patch applied."""
    loaded = ModuleType(code_cache.CACHING)
    loaded.IndexDataCacheFile = type("Changed", (Files,), {})
    monkeypatch.setitem(sys.modules, code_cache.CACHING, loaded)
    others = [finder for finder in sys.meta_path if getattr(finder, "name", "") != code_cache.CACHING]
    monkeypatch.setattr(sys, "meta_path", list(others))
    code_cache.make_cache_safe()
    code_cache.make_cache_safe()
    assert len(sys.meta_path) == len(others) + 1
    return loaded.IndexDataCacheFile


def test_what_is_whole_is_kept(files: type[Files], tmp_path: Path) -> None:
    one = files(tmp_path)
    one.save("key", "code")
    assert (one.load("key"), one.load("other"), one.emptied) == ("code", None, 0)


def test_what_cannot_be_written_is_not_kept(files: type[Files], tmp_path: Path) -> None:
    files(tmp_path, OSError(28, "No space left on device")).save("key", "code")
    files(tmp_path / "gone").save("key", "code")
    with pytest.raises(ZeroDivisionError):  # not caused by the disk
        files(tmp_path, ZeroDivisionError()).save("key", "code")


def test_what_cannot_be_read_is_not_there(files: type[Files], tmp_path: Path) -> None:
    one = files(tmp_path, EOFError())
    assert one.load("key") is None
    assert one.emptied == 1  # otherwise saving the index would fail, too


def test_code_is_written_when_no_other_process_writes(files: type[Files], tmp_path: Path) -> None:
    with (tmp_path / code_cache.LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = threading.Thread(target=files(tmp_path).save, args=("key", "code"))
        writer.start()
        writer.join(0.1)
        assert [path.name for path in tmp_path.iterdir()] == [code_cache.LOCK]
    writer.join(60)
    assert len(list(tmp_path.iterdir())) == 2


INTERLEAVED = """
import sys
from ptylive.engine.backend import code_cache
code_cache.make_cache_safe()
from numba.core.caching import IndexDataCacheFile
def without_locks(*_given):
    raise OSError(38, "Function not implemented")
code_cache.fcntl.flock = without_locks
here, there = (IndexDataCacheFile(sys.argv[1], "function", "stamp") for _ in range(2))
save_index, save_data, late = here._save_index, there._save_data, []
there._save_data = lambda *given: late.append(given)
def later(overloads):
    there.save("uint16", "code for uint16")
    save_index(overloads)
here._save_index = later
here.save("uint8", "code for uint8")
save_data(*late[0])
again = IndexDataCacheFile(sys.argv[1], "function", "stamp")
assert again.load("uint8") == "code for uint8"
assert again.load("uint16") is None
again.save("uint16", "code for uint16")
assert [again.load(key) for key in ("uint8", "uint16")] == ["code for uint8", "code for uint16"]
"""


def test_processes_that_write_at_once_never_take_each_others_code(tmp_path: Path) -> None:
    """Where the file system knows no locks: both read the list before either writes it, and write its files last."""
    subprocess.run([sys.executable, "-c", INTERLEAVED, str(tmp_path)], check=True, timeout=120)


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
