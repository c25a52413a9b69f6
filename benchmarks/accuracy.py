"""Maps against the truth of the simulated sets, ours and other programs', by default settings.

    python benchmarks/accuracy.py [--sets NAME ...] [--peers py4dstem ptychography40] [--work DIR]
                                  [--write docs/accuracy.md] [--picture docs/pictures/rotavirus.png]

Makes the tables of docs/accuracy.md. Ours is `ptylive reconstruct FILE`, once with the file's calibration and once
blind: with nothing but energy, semi-angle, step, scan and detector pixel. The peers come from PyPI, each in a virtual
environment made under --work, and are given the true calibration. Their runners stand in ../shared/tools/fidelity (or
$PTYLIVE_FIDELITY), the judge of all in score.py beside that folder. The peers' figures are kept in --work.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

TARGETS = {
    "tiny_mos2_80kV_focus": 0.988,
    "mos2_svac_80kV_focus": 0.989,
    "ws2_messy_60kV_lowdose": 0.942,
    "mos2_edge_80kV_defocus": 0.89,
    "au_ac_300kV_parallax": 0.88,
    "sto_10nm_200kV_defocus": 0.96,
}
"""What the best map has to reach: a little more than the best peer's."""
MAPS = ("idpc", "tcbf", "ssb", "obf", "wdd_phase")
BLIND_KEYS = (
    "energy_eV",
    "convergence_semiangle_mrad",
    "scan_step_A",
    "scan_shape",
    "scan_pattern",
    "flyback_frames",
    "detector_pixel_mrad",
)
PEERS = {
    "py4dstem": ["py4DSTEM==0.14.18"],
    "ptychography40": ["ptychography40==0.1.0"],
}
PEER_METHODS = {
    "dpc": "DPC",
    "ssb": "SSB",
    "obf": "OBF",
    "wdd": "WDD",
    "parallax": "Parallax",
    "p40ssb": "ptychography40 SSB",
}
BEGIN, END = "<!-- benchmarks/accuracy.py -->", "<!-- end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(TARGETS), help="names, or files with the same layout")
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=[])
    parser.add_argument("--data", type=Path, default=shared() / "data" / "simulated")
    parser.add_argument("--work", type=Path, default=Path("build/accuracy"))
    parser.add_argument("--write", type=Path, help="Markdown file whose tables are replaced")
    parser.add_argument("--picture", type=Path, help="only make this picture of the real cryo scan")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.picture is not None:
        draw(given.data.parent / "real" / "rotavirus_300kV_cryo_west.h5", given.work, given.picture)
        return
    files = [Path(name) if name.endswith(".h5") else given.data / f"{name}.h5" for name in given.sets]
    judge = load_judge()
    ours = {file.stem: run_ours(given.work, file, judge) for file in files}
    peers: dict[str, dict[str, float]] = {file.stem: {} for file in files}
    for peer in given.peers:
        for file in files:
            peers[file.stem].update(run_peer(given.work, file, peer))
    text = tables(ours, peers)
    print(text)
    if given.write is not None:
        replace_tables(given.write, text)


def shared() -> Path:
    """The folder of data sets and tools beside the repository."""
    return Path(__file__).resolve().parents[2] / "shared"


def runners() -> Path:
    """Where the peers' runners stand."""
    return Path(os.environ.get("PTYLIVE_FIDELITY", shared() / "tools" / "fidelity"))


def load_judge() -> ModuleType:
    """The common judge."""
    spec = importlib.util.spec_from_file_location("score", runners().parent / "score.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_ours(work: Path, file: Path, judge: ModuleType) -> dict[str, Any]:
    """Correlation of every map with the truth, given the calibration and blind."""
    blind = work / f"{file.stem}_blind_input.h5"
    strip_calibration(file, blind)
    return {
        "given": scored(file, reconstructed(file, work / f"{file.stem}_given.h5"), judge),
        "blind": scored(file, reconstructed(blind, work / f"{file.stem}_blind.h5"), judge),
    }


def strip_calibration(file: Path, blind: Path) -> None:
    """A copy that says nothing but energy, semi-angle, step, scan and detector pixel."""
    import h5py
    import hdf5plugin  # noqa: F401  (registers the filters of the data)

    with h5py.File(file) as source, h5py.File(blind, "w") as out:
        source.copy("data", out)
        for name in BLIND_KEYS:
            if name in source["metadata"].attrs:
                out.require_group("metadata").attrs[name] = source["metadata"].attrs[name]
        if "bad_pixel_mask" in source["metadata"]:
            source.copy("metadata/bad_pixel_mask", out["metadata"])


def reconstructed(file: Path, out: Path) -> Path:
    """Results of `ptylive reconstruct`, by default settings."""
    program = Path(sys.executable).with_name("ptylive")
    subprocess.run([str(program), "reconstruct", str(file), "-o", str(out)], check=True, env=one_thread())
    return out


def scored(truth: Path, results: Path, judge: ModuleType) -> dict[str, float]:
    """Correlation of the maps there are."""
    import h5py

    with h5py.File(results) as file:
        names = [name for name in MAPS if name in file["maps"]]
    return {name: float(judge.score_map(str(truth), str(results), name)["corr"]) for name in names}


def run_peer(work: Path, file: Path, peer: str) -> dict[str, float]:
    """The best figure of each of a peer's methods on one set; its log is kept and read again."""
    log = work / f"{peer}_{file.stem}.jsonl"
    if not log.exists():
        partial = log.with_suffix(".part")
        partial.unlink(missing_ok=True)
        out = work / f"{peer}_maps"
        out.mkdir(exist_ok=True)
        command = [str(python_with(work, peer)), str(runners() / f"run_direct_{peer}.py"), str(out)]
        command += ["dpc,ssb,obf,wdd,parallax", str(file)] if peer == "py4dstem" else [str(file)]
        search = os.pathsep.join([str(runners()), str(runners().parent)])
        subprocess.run(command, check=True, env={**one_thread(), "FIDELITY_LOG": str(partial), "PYTHONPATH": search})
        partial.rename(log)
    best: dict[str, float] = {}
    for line in log.read_text().splitlines():
        row = json.loads(line)
        method = PEER_METHODS.get(row["method"].split("_")[0], "")
        if method and "corr" in row and "truedf" not in row["method"]:
            best[method] = max(best.get(method, -1.0), row["corr"])
    return best


def draw(file: Path, work: Path, picture: Path) -> None:
    """OBF and tcBF of a scan calibrated from its own data, side by side, 0.5 to 99.7 % of the grey levels."""
    import h5py
    import numpy as np
    from PIL import Image

    blind = work / f"{file.stem}_blind_input.h5"
    strip_calibration(file, blind)
    with h5py.File(reconstructed(blind, work / f"{file.stem}_blind.h5")) as results:
        maps = [results[f"maps/{name}"][()] for name in ("obf", "tcbf")]
    tiles = []
    for live_map in maps:
        low, high = np.percentile(live_map, (0.5, 99.7))
        grey = Image.fromarray((np.clip((live_map - low) / (high - low), 0, 1) * 255).astype(np.uint8))
        tiles.append(np.asarray(grey.resize((3 * grey.width, 3 * grey.height), Image.Resampling.BICUBIC)))
    gap = np.full((len(tiles[0]), 12), 255, np.uint8)
    Image.fromarray(np.hstack([tiles[0], gap, tiles[1]])).save(picture)


def python_with(work: Path, peer: str) -> Path:
    """The interpreter of a virtual environment that holds a peer."""
    python = work / "venv" / peer / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(work / "venv" / peer)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", *PEERS[peer], "h5py", "hdf5plugin", "scipy"], check=True
        )
    return python


def one_thread() -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}


def tables(ours: dict[str, Any], peers: dict[str, dict[str, float]]) -> str:
    """Markdown: ours given and blind, then the peers."""
    lines = [
        f"{date.today()}, {platform.machine()}, Python {platform.python_version()}; made {time.strftime('%H:%M')}.",
        "",
    ]
    lines += [f"| set | target | {' | '.join(MAPS)} | best | |", "|---" * (len(MAPS) + 4) + "|"]
    for name, found in ours.items():
        for kind in ("given", "blind"):
            lines.append(our_row(name if kind == "given" else "– blind", TARGETS.get(name), found[kind]))
    methods = [m for m in PEER_METHODS.values() if any(m in found for found in peers.values())]
    if methods:
        lines += [
            "",
            f"| set | {' | '.join(methods)} | best peer | ours, default | ours, blind |",
            "|---" * (len(methods) + 4) + "|",
        ]
        for name, found in peers.items():
            cells = [figure(found.get(method)) for method in methods]
            best = max(found.values(), default=None)
            mine = [max(ours[name][kind].values()) for kind in ("given", "blind")]
            lines.append(f"| {name} | {' | '.join([*cells, figure(best), *map(figure, mine)])} |")
    return "\n".join(lines)


def our_row(name: str, target: float | None, found: dict[str, float]) -> str:
    best = max(found, key=found.__getitem__)
    verdict = "" if target is None else "reached" if found[best] >= target else "**missed**"
    cells = [figure(found.get(method)) for method in MAPS]
    return f"| {name} | {figure(target)} | {' | '.join(cells)} | {best} | {verdict} |"


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def replace_tables(path: Path, text: str) -> None:
    """Put the tables between the markers of a document."""
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
