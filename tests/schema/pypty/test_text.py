"""PyPty presets as JSON and as Python, read without executing any of it."""

import math

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.pypty.text import parse_text

SCRIPT = """
import numpy as np
from pypty import initialize
voltage = 80
pypty_params = {
    'acc_voltage': voltage,
    'slice_distances': np.array([10, 2.5], dtype=np.float32),
    'update_probe_pos': lambda x: x > 5,
    'hist_length': np.inf,
    "reduce_factor": 1/15,
    'window': None,  # nothing
    'tilts': [[-1e-3, 2*3, 0]],
}
pypty_params['epoch_max'] = 30
experimental_params = dict(scan_size=(4, 5), PLRotation_deg="auto")
pypty_params = initialize.append_exp_params(experimental_params, pypty_params)
print(pypty_params)
"""


def test_a_preset_in_python_is_read_without_running_it():
    parsed = parse_text(SCRIPT, "preset.py")
    assert parsed.values == {
        "acc_voltage": 80,
        "slice_distances": [10, 2.5],
        "update_probe_pos": "lambda x: x > 5",
        "hist_length": math.inf,
        "reduce_factor": 1 / 15,
        "window": None,
        "tilts": [[-1e-3, 6.0, 0]],
        "epoch_max": 30,
        "scan_size": [4, 5],
        "PLRotation_deg": "auto",
    }
    assert parsed.unread == [16, 17], "the call and what is printed; not what is imported"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("np.linspace(-50, 50, 5)", [-50.0, -25.0, 0.0, 25.0, 50.0]),
        ("np.linspace(2, 3, 1)", [2.0]),
        ("list(range(3))", [0, 1, 2]),
        ("np.arange(4, 10, 2)", [4, 6, 8]),
        ("np.arange(1, 2, 0.25)", [1.0, 1.25, 1.5, 1.75]),
        ("np.arange(3, 0)", []),
    ],
)
def test_numbers_at_equal_distances(text, value):
    assert parse_text(f"{{'defocus_spread_modes': {text}}}", "x").values["defocus_spread_modes"] == value


def test_a_bare_dictionary_and_json():
    assert parse_text("{'a': (1, 2), 'b': True}", "x").values == {"a": [1, 2], "b": True}
    assert parse_text('{"a": [1, 2], "b": "lambda x: x"}', "x").values == {"a": [1, 2], "b": "lambda x: x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "no parameters"),
        ("import os", "not hold a dictionary"),
        ("{'a': open('f').read()}", "line 1: .* cannot be read"),
        ("{'a': __import__('os')}", "cannot be read"),
        ("{'a': [i for i in range(3)]}", "cannot be read"),
        ("{'a': 1/0}", "cannot be read"),
        ("{'a': np.arange(0, 1, 0)}", "'np.arange.0, 1, 0.' cannot be read"),
        ("{'a': np.arange(0, np.inf)}", "cannot be read"),
        ("{'a': np.arange(1e9)}", "cannot be read"),
        ("{'a': np.linspace(0, 1, 0.5)}", "cannot be read"),
        ("{'a': np.linspace(0, 1, num=5)}", "cannot be read"),
        ("{'a': -'x'}", "cannot be read"),
        ("{1: 2}", "not text"),
        ("{'a': 1", "neither JSON nor Python"),
        ("\x80\x04\x95\x00", "neither JSON nor Python"),
        ("HDR,\0", "^preset: neither JSON nor Python"),
    ],
)
def test_everything_else_is_refused(text, said):
    with pytest.raises(MetadataError, match=said):
        parse_text(text, "preset")
