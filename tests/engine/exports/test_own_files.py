"""An export recognises its own files, and no others."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from stored_runs import write_results

from ptylive.engine.exports.formats import EXPORTERS, export
from ptylive.engine.exports.own_files import HDF5, OTHERS, is_own
from ptylive.schema import InputFileError


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Files of every kind."""
    folder = tmp_path_factory.mktemp("exported")
    run = write_results(folder / "results.h5", slices=1)
    return {kind: export(run, kind, folder / kind) for kind in EXPORTERS}


def test_every_kind_is_recognised(exported: dict[str, list[Path]]) -> None:
    assert {*HDF5, *OTHERS} == set(EXPORTERS)
    for kind, files in exported.items():
        assert all(is_own(path, kind) for path in files), kind


def test_kinds_are_not_taken_for_each_other(exported: dict[str, list[Path]]) -> None:
    for kind in EXPORTERS:
        others = [path for other in HDF5 if other != kind for path in exported[other]]
        if kind in HDF5:
            assert not any(is_own(path, kind) for path in (*others, exported["png"][0].parents[1] / "results.h5")), kind
        elif kind != "pypty":
            assert not any(is_own(path, kind) for path in (*others, *exported["pypty"])), kind


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_pictures_of_other_programs_are_not_ours(tmp_path: Path, kind: str) -> None:
    Image.new("RGB" if kind == "png" else "F", (9, 5)).save(tmp_path / f"a.{kind}")
    Image.new("L", (9, 5)).save(tmp_path / f"b.{kind}", **({"software": "ImageJ"} if kind == "tiff" else {}))
    (tmp_path / f"empty.{kind}").touch()
    (tmp_path / f"text.{kind}").write_text("II*\0 these are precious notes on ptylive\n" * 9)
    for path in tmp_path.iterdir():
        assert not is_own(path, kind), path.name


@pytest.mark.parametrize("kind", HDF5)
def test_files_of_other_programs_with_the_same_names_are_not_ours(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["creator"] = "NeXpy"
        for name in ("Experiments/a", "entry", "object", "probe"):
            file.create_group(name)
        file["ptyrad_version"] = "0.1.0b13"
    assert not is_own(path, kind)
    path.write_bytes(path.read_bytes()[:1000])
    assert not is_own(path, kind)
    path.write_text("notes")
    assert not is_own(path, kind)


def test_arrays_are_recognised_by_the_parameters_next_to_them(exported: dict[str, list[Path]], tmp_path: Path) -> None:
    np.save(tmp_path / "cp.npy", np.ones(3))
    parameters = tmp_path / "params.json"
    assert not is_own(tmp_path / "cp.npy", "pypty")
    whole = json.loads((exported["pypty"][0].parent / "params.json").read_text())
    for text in ("not json", "[]", "[" * 100_000, json.dumps({**whole, "epoch_max": 3}), "{}", "\xff"):
        parameters.write_text(text, encoding="latin1")
        assert not is_own(tmp_path / "cp.npy", "pypty"), text[:20]
    parameters.write_text(json.dumps(whole, indent=2))
    assert is_own(tmp_path / "cp.npy", "pypty")


def test_a_pypty_export_writes_what_it_is_recognised_by_first(exported: dict[str, list[Path]]) -> None:
    """After an interruption the same command must be able to begin again."""
    assert exported["pypty"][0].name == "params.json"


def test_a_file_that_must_not_be_opened_is_not_opened(exported: dict[str, list[Path]]) -> None:
    from ptylive.engine.file_guard import guarded

    class Closed:
        def admit(self, path: Path) -> None:
            raise InputFileError(f"{path} is damaged")

        def wrote(self, path: Path) -> None:
            pass

    with guarded(Closed()), pytest.raises(InputFileError, match="damaged"):
        is_own(exported["nxs"][0], "nxs")
