"""The five lines of docs/notebook.md, on the bundled scan."""

import re
from pathlib import Path

import numpy as np
import pytest

from ptylive.schema import MetadataError
from ptylive.server.notebook import Gallery, open_scan
from ptylive.simulators.data import bundled

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "notebook.md"
DATA_SET = "mos2_svac_80kV_focus"


def test_the_documents_five_lines(tmp_path):
    lines = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)[1]
    lines = lines.replace('"scan.h5"', repr(str(bundled(DATA_SET)))).replace("epoch_max=20", "epoch_max=1")
    names = {}
    exec(compile(lines, "notebook.md", "exec"), names)
    maps, refined = names["maps"], names["refined"]
    assert {"obf", "idpc", "wdd_phase"} <= set(maps)
    assert maps.calibration.get("energy_eV") == 80e3
    assert refined.phase.ndim == 3
    assert len(refined.result.loss) >= 1
    shown = maps.show("obf")
    assert "data:image/png;base64," in shown._repr_html_()
    (written,) = shown.save(tmp_path / "made" / "pictures")
    assert written.read_bytes().startswith(b"\x89PNG")


def test_a_map_that_is_not_there_is_named():
    maps = open_scan(bundled(DATA_SET)).reconstruct(["bf"])
    assert list(maps) == ["bf"]
    with pytest.raises(MetadataError, match="no map 'obf'"):
        maps.show("obf")


def test_titles_are_harmless():
    assert "<script>" not in Gallery({"<script>": np.zeros((2, 2))})._repr_html_()
