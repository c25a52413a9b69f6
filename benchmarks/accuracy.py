"""Live maps by default settings against the truth of simulated scans, ours and other programs'.

    python -m benchmarks.accuracy [FILE ...] [--draws 2,3,5] [--abtem-python ABTEM/bin/python]
        [--py4dstem-python P/bin/python] [--ptychography40-python Q/bin/python] [--write docs/accuracy.md]
    python -m benchmarks.accuracy FILE --picture docs/pictures/rotavirus.png

Run it from the root of the repository. It makes the tables of docs/accuracy.md from draws of the zoo and from files
with the same layout (benchmarks/zoo/map_score.py says which part of it is needed); from files alone if only files are
given. Ours is `ptylive reconstruct FILE`, once with the file's calibration and once blind: with nothing but energy,
semi-angle, step, scan and detector pixel. The other programs (benchmarks/peers/direct.py explains how to install them)
are given the true calibration; scans and their figures are kept under --cache.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.peers import direct
from benchmarks.zoo.draws import SEED, draw
from benchmarks.zoo.files import blind_copy
from benchmarks.zoo.map_score import MapTruth, score_map
from benchmarks.zoo.ours import one_thread
from benchmarks.zoo.scans import default_cache, numbers, simulated

DRAWS = "2,3,5,7,12"
"""Thin specimens among the first development draws, as single-scattering maps are intended for them."""
MAPS = ("idpc", "tcbf", "ssb", "obf", "wdd_phase")
BEGIN, END = "<!-- benchmarks/accuracy.py -->", "<!-- end -->"

Figures = Mapping[str, Mapping[str, Any]]
"""Figures of a scan: for each program or way of ours the correlation of each map (``maps``), or ``error``."""


def main() -> None:
    given = arguments()
    if given.picture is not None:
        picture(given.files[0], given.picture)
        return
    rows: dict[str, dict[str, Any]] = {}
    for name, path in scans(given).items():
        rows[name] = ours(path)
        for program in direct.PEERS:
            rows[name][program] = direct.cached_figures(program, path, getattr(given, f"{program}_python"), given.cache)
        figures = {program: found.get("maps", found.get("error")) for program, found in rows[name].items()}
        print(f"{name}: {figures}", flush=True)
    text = tables(rows)
    print(text)
    if given.write is not None:
        replace_tables(given.write, text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="simulated scans with a /truth")
    parser.add_argument("--draws", help=f"development draws of the zoo, as 0-7,12 ({DRAWS} where no file is given)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draws")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where scans and figures are kept")
    parser.add_argument("--abtem-python", type=Path, default=Path(sys.executable), help="an interpreter that has abTEM")
    for program, peer in direct.PEERS.items():
        parser.add_argument(f"--{program}-python", type=Path, help=f"an interpreter that has {peer.package}")
    parser.add_argument("--write", type=Path, help="Markdown file whose tables are replaced")
    parser.add_argument("--picture", type=Path, help="only make this picture of FILE, which needs no truth")
    given = parser.parse_args()
    for path in given.files:
        if not path.is_file():
            parser.error(f"{path}: there is no such file")
    if given.picture is not None and len(given.files) != 1:
        parser.error("--picture takes one FILE")
    if given.write is not None:
        replace_tables(given.write, None)  # fail before anything is computed
    return given


def scans(given: argparse.Namespace) -> dict[str, Path]:
    """Name and file of each scan, given files first."""
    found = {path.stem: path for path in given.files}
    drawn = given.draws or ("" if found else DRAWS)
    for index in numbers(drawn) if drawn else []:
        chosen = draw("development", index, given.seed)
        found[chosen.name] = simulated(chosen, given.cache.absolute(), given.abtem_python.absolute())
    return found


def ours(scan: Path) -> dict[str, Any]:
    """Correlation of every map with the truth, with the given calibration and blind."""
    truth = MapTruth.read(scan)
    with tempfile.TemporaryDirectory() as folder:
        blind = Path(folder, "blind.h5")
        blind_copy(scan, blind)
        return {
            "given": scored(truth, scan, Path(folder, "given_maps.h5")),
            "blind": scored(truth, blind, Path(folder, "blind_maps.h5")),
        }


def scored(truth: MapTruth, scan: Path, out: Path) -> dict[str, Any]:
    """Correlations of the maps of one reconstruction."""
    import h5py

    error = reconstruct(scan, out)
    if error is not None:
        return {"error": error}
    with h5py.File(out) as file:
        found = {name: file["maps"][name] for name in MAPS if name in file["maps"]}
        pixels = {name: pixel_A(stored) for name, stored in found.items()}
        return {"maps": {name: score_map(truth, stored[()], pixels[name])["corr"] for name, stored in found.items()}}


def pixel_A(live_map: Any) -> tuple[float, float]:
    """Sides of a map's pixel."""
    import numpy as np

    rows, columns = np.broadcast_to(np.asarray(live_map.attrs["sampling_A"], float), 2)
    return float(rows), float(columns)


def reconstruct(scan: Path, out: Path) -> str | None:
    """Run `ptylive reconstruct` with default settings; return the reason if it failed."""
    program = Path(sys.executable).with_name("ptylive")
    command = [str(program), "reconstruct", str(scan), "-o", str(out)]
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env=one_thread())
    return None if completed.returncode in (0, 3) else (completed.stderr.strip().splitlines() or ["no word"])[-1][:300]


def picture(scan: Path, out: Path) -> None:
    """Write OBF and tcBF of a scan calibrated from its own data, side by side, 0.5 to 99.7 % of the grey levels."""
    import h5py
    import numpy as np
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        blind, results = Path(folder, "blind.h5"), Path(folder, "maps.h5")
        blind_copy(scan, blind)
        error = reconstruct(blind, results)
        if error is not None:
            raise SystemExit(f"{scan}: {error}")
        with h5py.File(results) as file:
            maps = [file[f"maps/{name}"][()] for name in ("obf", "tcbf")]
    tiles = []
    for live_map in maps:
        low, high = np.percentile(live_map, (0.5, 99.7))
        grey = Image.fromarray((np.clip((live_map - low) / (high - low), 0, 1) * 255).astype(np.uint8))
        tiles.append(np.asarray(grey.resize((3 * grey.width, 3 * grey.height), Image.Resampling.BICUBIC)))
    gap = np.full((len(tiles[0]), 12), 255, np.uint8)
    Image.fromarray(np.hstack([tiles[0], gap, tiles[1]])).save(out)


def tables(rows: Mapping[str, Figures]) -> str:
    """Markdown: ours given and blind, then the other programs, then what failed or was left out."""
    lines = [f"{date.today()}, {platform.machine()}, Python {platform.python_version()}.", ""]
    lines += [f"| scan | {' | '.join(MAPS)} | best |", "|---" * (len(MAPS) + 2) + "|"]
    for name, found in rows.items():
        lines += [our_row(label, found[calibration]) for label, calibration in ((name, "given"), ("– blind", "blind"))]
    ran = [program for program in direct.PEERS if any("maps" in found[program] for found in rows.values())]
    methods = [method for program in ran for method in direct.PEERS[program].methods]
    if methods:
        lines += ["", f"| scan | {' | '.join(methods)} | best peer | ours, default | ours, blind |"]
        lines += ["|---" * (len(methods) + 4) + "|"]
        lines += [peer_row(name, found, ran, methods) for name, found in rows.items()]
    reasons = left_out(rows)
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


def our_row(label: str, found: Mapping[str, Any]) -> str:
    """Table row of one reconstruction of ours."""
    maps: Mapping[str, float] = found.get("maps", {})
    best = max(maps, key=maps.__getitem__, default="failed")
    return f"| {label} | {' | '.join(figure(maps.get(name)) for name in MAPS)} | {best} |"


def peer_row(name: str, found: Figures, programs: Sequence[str], methods: Sequence[str]) -> str:
    """Table row of every method of the other programs on one scan, next to our best map."""
    reached = {method: corr for program in programs for method, corr in found[program].get("maps", {}).items()}
    our_best = [max(found[calibration].get("maps", {}).values(), default=None) for calibration in ("given", "blind")]
    cells = [figure(reached.get(method)) for method in methods]
    return f"| {name} | {' | '.join([*cells, figure(max(reached.values(), default=None)), *map(figure, our_best)])} |"


def left_out(rows: Mapping[str, Figures]) -> list[str]:
    """Why runs and methods failed; once for all scans if a program is not installed."""
    every = [(name, program, figures) for name, found in rows.items() for program, figures in found.items()]
    skipped = dict.fromkeys(
        f"- {program}: {figures['error']}" for _, program, figures in every if figures.get("skipped")
    )
    lines = list(skipped)
    for name, program, figures in every:
        if "error" in figures and not figures.get("skipped"):
            lines.append(f"- {name}, {program}: {figures['error']}")
        lines += [f"- {name}, {program}, {method}: {reason}" for method, reason in figures.get("failed", {}).items()]
    return lines


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def replace_tables(path: Path, text: str | None) -> None:
    """Put the tables between the markers of a document; ``None``: only check that the markers exist."""
    document = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin_marker, rest = document.partition(BEGIN)
    _, end_marker, after = rest.partition(END)
    if not (begin_marker and end_marker):
        raise SystemExit(f"{path}: there is no {BEGIN} with an {END} behind it for the tables to stand between")
    if text is not None:
        path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
