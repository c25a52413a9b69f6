"""Commands on files that would be read forever, or that are not files: they end with one clear line."""

import pytest
from odd_files import fill_with_odd_things, put_loop
from running import ptylive

COMMANDS = {
    "inspect": ("inspect", "FILE"),
    "plan": ("plan", "FILE"),
    "reconstruct": ("reconstruct", "FILE", "-o", "OUT"),
    "refine": ("refine", "FILE", "-o", "OUT"),
    "replay": ("replay", "FILE", "--to", "tcp://127.0.0.1:9"),
    "convert": ("convert", "FILE", "OUT"),
    "export": ("export", "FILE", "OUT", "--to", "pypty"),
    "preset": ("preset", "FILE"),
}


def refused(command, file, out):
    arguments = [str({"FILE": file, "OUT": out}.get(word, word)) for word in COMMANDS[command]]
    done = ptylive(*arguments, timeout_s=280)
    assert done.returncode == 1, done.stderr
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["inspect", "plan", "refine"])
def test_a_file_that_is_read_for_ever(command, tmp_path):
    (line,) = refused(command, put_loop(tmp_path), tmp_path / "out.h5")
    assert "loop.h5 could not be read in 3" in line
    assert "damaged" in line


@pytest.mark.slow
@pytest.mark.parametrize("command", ["reconstruct", "replay", "convert", "export"])
def test_a_file_that_is_read_for_ever_by_the_other_commands(command, tmp_path):
    (line,) = refused(command, put_loop(tmp_path), tmp_path / "out.h5")
    assert "loop.h5 could not be read in 3" in line


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_nothing_of_the_kind_are_named_in_one_line(command, tmp_path):
    for name in fill_with_odd_things(tmp_path):
        (line,) = refused(command, tmp_path / name, tmp_path / "out.h5")
        assert name in line
