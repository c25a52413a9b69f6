"""Which stored run settles the half turn of a scan: one that compared both, or the better of two."""

from pathlib import Path

import h5py
import pytest
from stored_runs import write_results

from ptylive.engine.analysis.settled_half_turn import settled_half_turn
from ptylive.schema import InputFileError


def with_runs(path: Path, *runs: tuple[float, float, str], slices: int = 3) -> Path:
    """A results file with runs of this rotation, last loss, and origin of rotation and defocus."""
    write_results(path, slices=slices)
    with h5py.File(path, "r+") as file:
        for number, (rotation_deg, loss, origin) in enumerate(runs, 1):
            if number > 1:
                file.copy("refinements/run1", f"refinements/run{number}")
            group = file[f"refinements/run{number}"]
            group["loss"][-1] = loss
            values = {"rotation_deg": rotation_deg, "C10": -50.0}
            for name, value in values.items():
                group.require_group("calibration").attrs.update({name: value, f"{name}_origin": origin})
    return path


@pytest.mark.parametrize(
    ("runs", "settled"),
    [
        ([(5.0, 1.5, "estimated")], ("run1", 5.0)),
        ([(5.0, 1.5, "given")], None),
        ([(5.0, 1.5, "undecided")], None),
        ([(5.0, 1.5, "estimated"), (6.0, 1.4, "estimated")], ("run2", 6.0)),
        ([(5.0, 1.5, "given"), (-175.0, 1.0, "given")], ("run2", -175.0)),
        ([(5.0, 1.0, "given"), (-175.0, 1.5, "given")], ("run1", 5.0)),
        ([(5.0, 1.5, "given"), (-175.0, 1.48, "given")], None),
        ([(5.0, 1.5, "given"), (6.0, 1.0, "given")], None),
    ],
)
def test_runs_of_several_slices_settle_it(
    tmp_path: Path, runs: list[tuple[float, float, str]], settled: tuple[str, float] | None
) -> None:
    assert settled_half_turn(with_runs(tmp_path / "r.h5", *runs)) == settled


def test_one_slice_and_runs_of_earlier_versions_settle_nothing(tmp_path: Path) -> None:
    assert settled_half_turn(tmp_path / "none.h5") is None
    assert settled_half_turn(with_runs(tmp_path / "one.h5", (5.0, 1.5, "estimated"), slices=1)) is None
    write_results(tmp_path / "old.h5")
    assert settled_half_turn(tmp_path / "old.h5") is None
    (tmp_path / "bad.h5").write_bytes(b"no file")
    with pytest.raises(InputFileError):
        settled_half_turn(tmp_path / "bad.h5")
