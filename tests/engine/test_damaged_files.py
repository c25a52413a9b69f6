"""A results file that cannot be read gives one clear line that names it."""

import pytest

from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.schema import InputFileError


@pytest.mark.parametrize(("error", "words"), [(OSError("bad\n magic"), "bad magic"), (MemoryError(), "MemoryError")])
def test_the_line_names_the_file_the_fault_and_what_to_do(tmp_path, error, words):
    assert isinstance(error, FAULTS)
    made = damaged(tmp_path / "r.h5", error)
    assert isinstance(made, InputFileError)
    assert made.line() == f"{tmp_path / 'r.h5'}: {words}: is it a complete results file of ptylive?"
