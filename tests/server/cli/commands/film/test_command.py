"""The command ``film``."""

import json

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from ptylive.server.cli.main import build

RUNNER = CliRunner()


def snapshot(folder, epoch):
    folder.mkdir(exist_ok=True)
    wave = np.full((1, 1, 8, 8), np.exp(0.1j * epoch), np.complex64)
    wave[..., 4, 4] = 1
    about = {"positions_A": np.zeros((2, 2)), "object_sampling_A": (1.0, 1.0), "origin_A": (0.0, 0.0)}
    np.savez(
        folder / f"epoch_{epoch:05d}.npz", format=1, epoch=epoch, loss=np.ones(epoch), object=wave, probe=wave, **about
    )


def test_a_film_beside_its_folder(tmp_path):
    for epoch in (0, 10):
        snapshot(tmp_path / "a.run1.history", epoch)
    done = RUNNER.invoke(build(), ["film", str(tmp_path / "a.run1.history"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["film"] == str(tmp_path / "a.run1.gif") and told["snapshots"] == 2
    with Image.open(told["film"]) as film:
        assert film.n_frames == 2


def test_what_cannot_be_is_one_line(tmp_path):
    snapshot(tmp_path / "kept", 1)
    for arguments, words in (
        ([str(tmp_path / "none")], "is not there"),
        ([str(tmp_path / "kept"), "a.avi"], "no name for a film"),
        ([str(tmp_path / "kept"), str(tmp_path)], "no name for a film"),
    ):
        ended = RUNNER.invoke(build(), ["film", *arguments])
        assert ended.exit_code != 0
        assert words in str(ended.exception) + ended.output
