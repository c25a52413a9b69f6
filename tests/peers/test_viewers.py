"""Results and exports in programs that show them (HyperSpy, silx), and in validators of NeXus (nexusformat, punx)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from other_programs import pip
from results_writers import refine, save
from stored_runs import write_results

from ptylive.engine.exports.formats import export

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
NEEDED = ["hyperspy", "silx", "nexusformat", "punx"]
HYPERSPY = """
import json, logging, sys, warnings
warnings.simplefilter("error")
said = []
class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
import hyperspy.api as hs
logging.getLogger("hyperspy").addHandler(Keep(logging.WARNING))
logging.getLogger("rsciio").addHandler(Keep(logging.WARNING))
read = hs.load(sys.argv[1])
axes = [[a.name, a.size, a.scale, str(a.units)] for a in read[0].axes_manager.signal_axes]
print(json.dumps([said, [s.metadata.General.title for s in read], type(read[0]).__name__, axes]))
"""
SILX = """
import json, sys
from silx.io import nxdata, open as opened
with opened(sys.argv[1]) as file:
    first = nxdata.get_default(file)
    parts = {name: nxdata.NXdata(group) for name, group in file["entry"].items() if hasattr(group, "keys")}
    wrong = {name: part.issues for name, part in parts.items() if not part.is_valid}
    kinds = {name: [list(part.signal.shape), list(part.axes_names)] for name, part in parts.items()}
    units = sorted({part.axes[-1].attrs["units"] for part in parts.values()})
    print(json.dumps([first.group.name, wrong, kinds, units]))
"""


@pytest.fixture(scope="session")
def viewers_python(tmp_path_factory):
    """A Python with these programs: that of $PTYLIVE_VIEWERS_PYTHON, or a new one."""
    if "PTYLIVE_VIEWERS_PYTHON" in os.environ:
        return Path(os.environ["PTYLIVE_VIEWERS_PYTHON"])
    folder = tmp_path_factory.mktemp("viewers")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip("--python", folder / "bin" / "python", "install", *NEEDED)
    return folder / "bin" / "python"


def told(python, *words):
    """Output of a program of that environment."""
    done = subprocess.run([python, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)  # without colours


def checked(python, path):
    """Warnings and errors of nexusformat, errors of punx; and the text of nexusformat's messages."""
    text = told(python, "-c", "from nexusformat.scripts.nxcheck import main; main()", "-w", path)
    counts = [line.rsplit(":", 1)[1].strip() for line in text.splitlines() if line.startswith("Total number of")]
    punx = told(python, "-m", "punx.main", "validate", "--report", "ERROR", path)
    (row,) = [line.split() for line in punx.splitlines() if line.startswith("ERROR")]
    return [*map(int, counts), int(row[1])], text


@pytest.fixture
def results(tmp_path):
    save(tmp_path / "r.h5")
    refine(tmp_path / "r.h5", 1.0)
    return tmp_path / "r.h5"


def test_hyperspy_opens_without_a_warning(viewers_python, tmp_path):
    (path,) = export(write_results(tmp_path / "run.h5"), "hspy", tmp_path)
    said, titles, kind, axes = json.loads(told(viewers_python, "-c", HYPERSPY, path).splitlines()[-1])
    assert said == []
    assert ("object_phase" in titles, kind) == (True, "Signal2D")
    assert axes == [["x", 24, 0.25, "Å"], ["y", 20, 0.25, "Å"]]


def test_silx_shows_every_part_with_axes_and_units(viewers_python, results):
    first, wrong, kinds, units = json.loads(told(viewers_python, "-c", SILX, results).splitlines()[-1])
    assert first == "/entry/obf"
    assert wrong == {}
    assert kinds["obf"] == [[32, 32], ["y (rows), Å", "x (columns), Å"]]
    assert kinds["run1_positions"] == [[4], ["x, Å"]]
    assert {"run1_object", "run1_probe", "run1_loss"} <= set(kinds)
    assert units == ["1", "angstrom"]


def test_validators_find_no_error(viewers_python, results, tmp_path):
    (exported,) = export(write_results(tmp_path / "run.h5"), "nxs", tmp_path)
    found, text = checked(viewers_python, exported)
    assert found == [0, 0, 0], text
    found, text = checked(viewers_python, results)  # one warning: that /coverage lies where NeXus defines nothing
    assert found == [1, 0, 0], text
