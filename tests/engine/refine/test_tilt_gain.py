"""Three tilts resolve buried layers that one scan does not (docs/how-to/tilt-series.md has the picture)."""

import numpy as np
import pytest
from tilted_crystal import crystal, depth_profile, dip, refined


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_three_tilts_resolve_layers_that_one_scan_does_not(seed):
    one, three = refined(crystal(seed))
    dips = [dip(depth_profile(result)) for result in (one, three)]
    print(f"seed {seed}: dip between the layers {dips[0]:.2f} with one scan, {dips[1]:.2f} with three")
    print(*(np.round(depth_profile(result), 3).tolist() for result in (one, three)), sep="\n")
    assert dips[0] < 0.15 and dips[1] > 0.26  # Rayleigh's criterion; one scan had 0.00 and 0.08
    assert three.backend.startswith("cpu, 3 tilts")
