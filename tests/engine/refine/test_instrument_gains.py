"""Every imperfection of the instrument on simulated scans: the gain of a refinement that includes it.

Seeds are those of ``ptylive simulate``; vacancies and counts are drawn from them. Bounds lie about halfway between no
gain and the smallest gain found with seeds 1 and 2 (docs/forward-model.md has the numbers).
"""

import pytest
from instrument_scans import CASES, refined

pytestmark = pytest.mark.slow
SEEDS = (1, 2)
LARGEST_ERROR = {
    "point spread, refined": (0.8, 0.985),
    "varying probe": (0.92, 0.95),
    "moving beam": (0.9, 0.96),
    "inclined specimen": (0.9, 0.95),
    "wedge": (0.9, 0.93),
    "wide source": (0.8, 0.9),
}
"""Error of the phase relative to refinements that ignore the imperfection: of one mode, and with what can absorb it."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_gains_what_it_should(case, seed):
    scan, dataset = case.make(seed)
    result, *_, told = refined(scan, dataset, **case.known, **case.told)
    for settings, bound in zip(case.without, LARGEST_ERROR[case.name], strict=True):
        plain = refined(scan, dataset, **case.known, **settings)[-1]
        print(f"{case.name}, seed {seed}, {settings}: {plain} -> {told}")
        assert told["error"] < bound * plain["error"]
        assert told["correlation"] > plain["correlation"]
    if "update_detector_psf" in case.told:
        # 80 million electrons determine it far better; the probe, also refined, absorbs some of it
        assert result.refined.detector_psf_px == pytest.approx(1.0, abs=0.1)
    if case.name == "wedge":
        print(result.refined.relative_thickness[[0, 19, 380, 399]])
        # slices of one thickness stand for the range between them: 5 % of it
        assert result.refined.relative_thickness[[0, 19, 380, 399]] == pytest.approx([0.6, 0.6, 1.4, 1.4], abs=0.05)
    if case.name == "inclined specimen":
        corners = result.refined.aberrations_A[[0, 19, 380, 399], 0]
        assert corners == pytest.approx([20.0, 80.0, -80.0, -20.0], abs=4.0)  # found within 1.5 Å
