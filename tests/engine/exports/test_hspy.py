"""Maps as HyperSpy files."""

from pathlib import Path

import h5py
import numpy as np

from ptylive.engine.exports.hspy import write_hspy
from ptylive.schema import LiveMap


def a_map(name: str, sampling_A: tuple[float, float] | None = (0.4, 0.5)) -> LiveMap:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    return LiveMap(name, data, "rad", sampling_A, 12, "optimum bright field")


def test_the_layout_that_hyperspy_reads(tmp_path: Path) -> None:
    path = tmp_path / "maps.hspy"
    write_hspy(path, [a_map("obf"), a_map("bf", None)])
    with h5py.File(path) as file:
        assert file.attrs["file_format"] == "HyperSpy"
        signal = file["Experiments/obf"]
        assert np.array_equal(signal["data"], a_map("obf").data)
        assert [signal[f"axis-{i}"].attrs["scale"] for i in (0, 1)] == [0.4, 0.5]
        assert [signal[f"axis-{i}"].attrs["units"] for i in (0, 1)] == ["Å", "Å"]
        assert signal["metadata/Signal"].attrs["quantity"] == "obf (rad)"
        assert signal["original_metadata/ptylive"].attrs["frames"] == 12
        assert file["Experiments/bf/axis-0"].attrs["units"] == "px"
    assert not list(tmp_path.glob("*.tmp*"))
