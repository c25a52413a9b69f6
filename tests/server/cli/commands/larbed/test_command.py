import json

import numpy as np
from typer.testing import CliRunner

from ptylive.engine.larbed import inversion, larbed_file
from ptylive.server.cli.main import build
from tests.engine.larbed.test_inversion import outcome

RUNNER = CliRunner()


def test_ptylive_larbed_inverts_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(inversion, "CURVE", np.linspace(0.9, 1.1, 3))  # each of its points takes half a second
    monkeypatch.setattr(inversion, "CURVE_ITERATIONS", 3)
    larbed_file.write(tmp_path / "in.h5", outcome(), {})
    words = ["larbed", str(tmp_path / "in.h5"), "-o", str(tmp_path / "out.h5"), "--starts", "1"]
    ended = RUNNER.invoke(build(("larbed",)), [*words, "--iterations", "2", "--thickness", "96,96", "--json"])
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout.splitlines()[-1])
    assert (told["tilts"], told["reflections"]) == (25, 49)
    assert (tmp_path / "out.png").exists()


def test_ranges_are_looked_at(tmp_path):
    words = ["larbed", str(tmp_path / "in.h5"), "-o", str(tmp_path / "out.h5"), "--thickness"]
    for text, said in (("300,100", "is not a range"), ("100", "is not 2 numbers")):
        ended = RUNNER.invoke(build(("larbed",)), [*words, text])
        assert said in str(ended.exception)
