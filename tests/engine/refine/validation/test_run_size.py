"""Memory of a run: what it is made of."""

from ptylive.engine.refine.validation.run_size import RunSize

SIZE = RunSize(
    patterns=10,
    recorded_bytes=5000,
    shown=10,
    window_px=8,
    pixel_bytes=2,
    object_pixels=300,
    object_parts=1,
    probe_size=128,
)


def test_every_part_is_counted():
    patterns = 5000 + 10 * 8 * 8 * 2
    vectors = (2 * 3 + 9) * 4 * (300 + 128)  # pairs of L-BFGS, and what else the solver keeps, in single precision
    planes = (2 + 2) * 300 * 8  # complex64: two, and one for each thread
    ramps = 10 * 4 * 8 * 4  # cosine and sine along both axes, a float each
    assert SIZE.peak_bytes(history=3, threads=2) == patterns + vectors + planes + ramps
