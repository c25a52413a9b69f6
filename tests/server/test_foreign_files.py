"""The commands give the same results for files of other programs as for a native file."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here
from shared_data import shared_data

from ptylive.application.offline import reconstruct_file
from ptylive.schema import MetadataError
from ptylive.simulators.replay import ReplaySettings, replay

KNOWN = ("energy_eV", "convergence_semiangle_mrad", "scan_step_A")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The smallest data set as a native file, as Nion Swift would export it, and in PyPty's format."""
    native, folder = shared_data("tiny_mos2_80kV_focus"), tmp_path_factory.mktemp("foreign")
    with h5py.File(native) as file:
        data, attributes = file["data"][()], dict(file["metadata"].attrs)
    np.save(folder / "nion.npy", data)
    step_nm = float(np.ravel(attributes["scan_step_A"])[0]) / 10
    described = {
        "spatial_calibrations": [{"scale": step_nm, "units": "nm"}] * 2 + [{"scale": 1.0, "units": ""}] * 2,
        "metadata": {
            "hardware_source": {
                "high_tension_v": float(attributes["energy_eV"]),
                "convergence_angle_rad": float(attributes["convergence_semiangle_mrad"]) / 1e3,
            }
        },
    }
    (folder / "nion.json").write_text(json.dumps(described))
    with h5py.File(folder / "pypty.h5", "w") as file:
        file["data"] = data.reshape(-1, *data.shape[2:])
    return {"native": native, "nion": folder / "nion.npy", "pypty": folder / "pypty.h5"}


@pytest.mark.slow
@pytest.mark.data
def test_maps_are_those_of_the_native_file(files: dict[str, Path]) -> None:
    with h5py.File(files["native"]) as file:
        known = {name: np.ravel(file["metadata"].attrs[name]).tolist() for name in KNOWN}
    values = {name: value[0] for name, value in known.items()}
    shape = {"scan_shape": (24, 24)}
    wanted = reconstruct_file(files["nion"], {}, ("idpc", "bf")).rendering.maps
    native = reconstruct_file(files["native"], {}, ("idpc", "bf")).rendering.maps
    pypty = reconstruct_file(files["pypty"], {**values, **shape}, ("idpc", "bf")).rendering.maps
    for one, two, three in zip(wanted, native, pypty, strict=True):
        # the native file states more than the others, such as its rotation
        assert np.corrcoef(one.data.ravel(), two.data.ravel())[0, 1] > 0.99
        np.testing.assert_allclose(one.data, three.data, rtol=1e-4, atol=1e-6)


@pytest.mark.data
def test_what_is_missing_is_asked_for_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="scan_shape") as caught:
        reconstruct_file(files["pypty"], {})
    assert "--set scan_shape=ROWS,COLUMNS" in caught.value.line()
    told = last_json(ptylive_here("inspect", files["pypty"], "--json"))
    assert {line.split()[0] for line in told["missing"]} == {"scan_shape", *KNOWN}
    done = ptylive_here("refine", files["pypty"], "-o", tmp_path / "out.h5")
    assert done.returncode == 1
    assert "scan_shape" in done.stderr


@pytest.mark.data
def test_convert_makes_a_native_file(files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "out.h5"
    last_json(ptylive_here("convert", files["pypty"], target, "--set", "scan_shape=24,24", "--json"))
    with h5py.File(target) as made, h5py.File(files["native"]) as native:
        np.testing.assert_array_equal(made["data"][()], native["data"][()])
        assert made["metadata"].attrs["scan_shape"].tolist() == [24, 24]


@pytest.mark.data
def test_replay_sends_it_with_what_is_set(files: dict[str, Path], tmp_path: Path) -> None:
    from stream_tools import running

    with running(tmp_path) as run:
        report = replay(files["pypty"], ReplaySettings(to=run.address, values={"scan_shape": (24, 24)}))
        run.wait_for_state("complete")
        assert run.arms()[0].header.scan.shape == (24, 24)
    assert report.frames == 576


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["nion", "pypty"])
def test_refine_takes_them(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    values = ("energy_eV=80e3", "convergence_semiangle_mrad=25", "scan_step_A=0.45", "scan_shape=24,24")
    settings = [word for value in values for word in ("--set", value)]
    told = last_json(
        ptylive_here("refine", files[name], "-o", tmp_path / "out.h5", "--epochs", "1", *settings, "--json")
    )
    assert (told["state"], told["frames"]) == ("done", 576)
