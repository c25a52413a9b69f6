"""Selection of draws, and their scans: where they are kept; they are simulated if they do not exist yet."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.zoo.draws import Draw
from benchmarks.zoo.files import usable
from benchmarks.zoo.ours import one_thread

ROOT = Path(__file__).resolve().parents[2]


def default_cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("ptylive") / "zoo"


def numbers(text: str) -> list[int]:
    """Parse numbers and ranges, such as 0-7,12."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            found.extend(range(int(first), int(last or first) + 1))
        except ValueError:
            raise SystemExit(f"--draws {text!r}: give numbers and ranges, as 0-7,12") from None
    return found


def simulated(drawn: Draw, cache: Path, python: Path) -> Path:
    """The file of a draw, simulated if it does not exist yet."""
    path = cache / "scans" / f"{drawn.name}_{drawn.seed}.h5"
    if usable(path, drawn):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    settings_path = path.with_suffix(".json")
    settings_path.write_text(json.dumps(drawn.as_dict()), encoding="utf-8")
    print(f"{drawn.name}: simulating {drawn.line()}", flush=True)
    command = [str(python), "-m", "benchmarks.zoo.simulate", str(path), str(settings_path)]
    completed = subprocess.run(command, check=False, cwd=ROOT, env=one_thread())
    if completed.returncode:
        raise SystemExit(
            f"{drawn.name}: the simulation failed; --abtem-python PATH names an interpreter that has abTEM and h5py"
        )
    settings_path.unlink()
    return path
