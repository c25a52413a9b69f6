"""User settings of maps: checked, applied and reported; without settings nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quick_first import quick_first
from scipy import fft, ndimage
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging import imaging_conditions, registry
from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.render import METHODS, check_methods
from ptylive.engine.live.engine import reconstruct
from ptylive.schema import LiveMap, MetadataError
from ptylive.schema.metadata import overlay

OWN = {one.name: one for one in registry.own_methods()}
MAY_BE_SET = {name: (method, one) for method in OWN for name, one in OWN[method].may_be_set.items()}
OTHER_VALUES = {"upsample": 3, "flip": 0, "noise": 10.0, "epsilon": 0.2, "iterations": 2, "sidebands": 1, "crop": 3.0}
OTHER_VALUES |= {"depth_A": 30.0, "ssb.crop": 0.6, "align_order": 1, "align_bin_px": 2.0, "align_rounds": 2}
OTHER_VALUES |= {"align_reference": 1, "align_free": 1}
ALONE = {"ssb.sidebands": "ssb"}
LONG = ("tcbf.align_order", "tcbf.align_reference", "tcbf.align_rounds", "dpc_iterative.highpass_invA")
"""Make maps for long; what the alignment is told is also seen in live/test_aligned_images.py."""
"""Settings that affect only one of a method's maps."""


@pytest.fixture(scope="module")
def scan() -> WeakPhaseScan:
    return WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)


@pytest.fixture(scope="module")
def plain(scan: WeakPhaseScan) -> dict[str, LiveMap]:
    return maps(scan, tuple(OWN), {})


def maps(scan: WeakPhaseScan, methods: tuple[str, ...], settings: dict[str, Any]) -> dict[str, LiveMap]:
    chosen, others = registry.read_settings(settings)
    assert not others
    _, rendering = reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns), methods, settings=chosen)
    return {one.name: one for one in rendering.maps}


@pytest.mark.parametrize("name", quick_first([*sorted({*MAY_BE_SET} - {*LONG}), *LONG], len(MAY_BE_SET) - len(LONG)))
def test_a_setting_changes_its_map_and_is_told(name: str, scan: WeakPhaseScan, plain: dict[str, LiveMap]) -> None:
    method, setting = MAY_BE_SET[name]
    key = name.partition(".")[2]
    value = OTHER_VALUES.get(name, OTHER_VALUES.get(key, 0.2))
    for one in maps(scan, (method,), {name: value}).values():
        before = plain[one.name].data
        if one.name != ALONE.get(name, one.name):
            continue
        assert one.data.shape != before.shape or not np.allclose(one.data, before, rtol=1e-3, atol=0)
        assert one.settings[key] == value
    if setting.default is not None:
        for one in maps(scan, (method,), {name: setting.default}).values():
            assert np.array_equal(one.data, plain[one.name].data)


@pytest.mark.parametrize("name", ["tcbf", "obf"])
def test_finer_maps_are_of_the_same_field(name: str, scan: WeakPhaseScan) -> None:
    fine = maps(scan, (name,), {f"{name}.upsample": 4})[name]
    assert fine.data.shape == (64, 64)
    assert fine.sampling_A == pytest.approx((scan.step_A / 4,) * 2)
    # frequencies that the scan's own points resolve agree: both spectra below the scan's sampling frequency
    coarse = maps(scan, (name,), {f"{name}.upsample": 1})[name]
    inside = np.abs(fft.fftfreq(16, scan.step_A)) < 0.4  # 1/Å; the bright field reaches 0.9, the scan 1
    spectra = [fft.fft2(one.data) / one.data.size for one in (coarse, fine)]
    low = [one[np.ix_(*(np.resize(inside, 16),) * 2)] for one in (spectra[0], _lowest(spectra[1], 16))]
    assert np.corrcoef(np.abs(low[0]).ravel(), np.abs(low[1]).ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", ["tcbf", "obf"])
@pytest.mark.parametrize("factor", quick_first([2.7, 1.5]))
def test_maps_are_finer_by_any_factor(name: str, factor: float, scan: WeakPhaseScan) -> None:
    """The map is the same band-limited picture on other points: it is read from a map eight times finer."""
    fine, finest = (maps(scan, (name,), {f"{name}.upsample": n})[name] for n in (factor, 8))
    assert fine.sampling_A is not None and finest.sampling_A is not None
    assert fine.sampling_A[0] == pytest.approx(scan.step_A / factor, rel=0.03), "an even number of points"
    rows, cols = (np.arange(n) * fine.sampling_A[axis] for axis, n in enumerate(fine.data.shape))
    assert rows[-1] < 16 * scan.step_A <= rows[-1] + fine.sampling_A[0] * 1.001, "the whole field, and no more"
    inside = rows < 15 * scan.step_A  # beyond lies the map's last point
    at = np.stack(np.meshgrid(rows[inside], cols[inside], indexing="ij")) / finest.sampling_A[0]
    read = ndimage.map_coordinates(finest.data.astype(float), at, order=3)
    assert np.corrcoef(read.ravel(), fine.data[np.ix_(inside, inside)].ravel())[0, 1] > 0.999
    assert fine.data.std() == pytest.approx(finest.data.std(), rel=0.05)


@pytest.mark.parametrize("name", ["tcbf", "obf", "ssb", "wdd"])
def test_a_depth_of_its_own_is_another_defocus(name: str, scan: WeakPhaseScan) -> None:
    known = {"C12a": 0.0, "C12b": 0.0, "rotation_deg": 0.0}
    made = [
        reconstruct(
            overlay(scan.header(lies_still=True), known | given), lambda: batches(scan.patterns), (name,), settings=own
        )[1]
        for given, own in (
            ({"C10": -60.0, "depth_A": 5.0}, {f"{name}.depth_A": 25.0}),
            ({"C10": -35.0, "depth_A": 0.0}, {}),
        )
    ]
    for one, other in zip(made[0].maps, made[1].maps, strict=True):
        np.testing.assert_allclose(one.data, other.data, atol=1e-4 * np.abs(other.data).max())


def _lowest(spectrum: np.ndarray, n: int) -> np.ndarray:
    kept = np.r_[0 : n // 2, -(n // 2) : 0]
    return spectrum[np.ix_(kept, kept)]


def test_idpc_is_damped_as_butterworth_has_it(scan: WeakPhaseScan, plain: dict[str, LiveMap]) -> None:
    high, low = 0.1, 0.3
    found = maps(scan, ("idpc",), {"idpc.highpass_invA": high, "idpc.lowpass_invA": low})["idpc"]
    before, after = (fft.dctn(one.data.astype(float)) for one in (plain["idpc"], found))
    q2 = np.add.outer(*((np.arange(16) / (32 * scan.step_A)) ** 2,) * 2)
    expected = before / np.sqrt(1 + (high**2 / np.where(q2 > 0, q2, np.inf)) ** 2) / np.sqrt(1 + (q2 / low**2) ** 2)
    expected[0, 0] = after[0, 0] = 0
    # maps are in single precision: each of 256 points of a sum is rounded
    assert np.abs(after - expected).max() < 256 * 2**-23 * np.abs(before).max()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"wdd.epsilom": 1}, "wdd has no setting 'epsilom'"),
        ({"bf.upsample": 2}, "bf has no setting 'upsample'"),
        ({"wdd.epsilon": 0}, "wdd.epsilon=0 is not possible"),
        ({"wdd.epsilon": "much"}, "wdd.epsilon='much' is not possible"),
        ({"wdd.epsilon": float("nan")}, "is not possible"),
        ({"wdd.epsilon": True}, "is not possible"),
        ({"tcbf.flip": 0.5}, "is not a whole number"),
        ({"tcbf.upsample": 0.5}, "tcbf.upsample=0.5 is not possible"),
        ({"tcbf.upsample": 9}, "tcbf.upsample=9 is not possible"),
        ({"tcbf.upsample": [2]}, "is not possible"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(MetadataError, match=says):
        registry.read_settings(settings)


def test_metadata_are_left_alone() -> None:
    values = {"energy_eV": 80e3, "scan.step_A": 0.4, "nothing.known": 1, "wdd.epsilon": 0.1}
    chosen, others = registry.read_settings(values)
    assert chosen == {"wdd.epsilon": 0.1}
    assert others == {"energy_eV": 80e3, "scan.step_A": 0.4, "nothing.known": 1}


def test_a_unit_is_understood() -> None:
    assert registry.read_settings({"idpc.highpass_invA": "0.5 1/nm"})[0] == {"idpc.highpass_invA": pytest.approx(0.05)}
    with pytest.raises(MetadataError, match=r"idpc\.highpass_invA='0.5 kV' is not possible"):
        registry.read_settings({"idpc.highpass_invA": "0.5 kV"})


@pytest.mark.parametrize("factor", [2, 8])
def test_finer_filters_are_bounded_before_they_are_made(
    factor: int, scan: WeakPhaseScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = [], []
    monkeypatch.setattr(imaging_conditions, "check_fits", lambda nbytes, what, _remedy: asked.append((what, nbytes)))
    evaluate = Band.evaluate_with_response
    monkeypatch.setattr(
        Band, "evaluate_with_response", lambda self, pair: made.append(evaluate(self, pair)) or made[-1]
    )
    maps(scan, ("tcbf",), {"tcbf.upsample": factor})
    assert [what for what, _ in asked] == [f"filters for tcbf.upsample={factor}"] * len(asked)
    both = 2 * made[-1][0].nbytes  # weights and, unless interpolated, the transfer as well
    assert 0.9 * both < asked[-1][1] < 2 * both  # frequencies on the rim of a disc are discrete

    def no_room(*_: object) -> None:
        raise MetadataError("no room")

    monkeypatch.setattr(imaging_conditions, "check_fits", no_room)
    with pytest.raises(MetadataError, match="no room"):
        maps(scan, ("tcbf",), {"tcbf.upsample": factor})


def test_finer_maps_need_a_regular_grid(scan: WeakPhaseScan) -> None:
    header = scan.header(lies_still=True)
    places = header.scan.positions_A(0.0) + np.random.default_rng(0).uniform(-0.1, 0.1, (256, 2))
    header = replace(header, arrays={"positions_A": places})
    with pytest.raises(MetadataError, match=r"obf\.upsample=2 needs points on a regular grid"):
        reconstruct(header, lambda: batches(scan.patterns), ("obf",), settings={"obf.upsample": 2})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("parallax.kde_upsample_factor", "tcbf.upsample"),
        ("tcbf.kde_sigma_px", "tcbf.kernel_steps"),
        ("dpc.max_iter", "dpc_iterative.iterations"),
        ("WDD.relative_wiener_epsilon", "wdd.epsilon"),
        ("wdd.thresh", "wdd.threshold"),
        ("idpc.q_highpass", "idpc.highpass_invA"),
    ],
)
def test_settings_have_the_names_of_other_programs_too(theirs: str, ours: str) -> None:
    value = registry.setting(ours).default or 1.0
    assert registry.only_settings({theirs: value}) == {ours: value}
    assert registry.read_settings({theirs: value, "energy_eV": 8e4}) == ({ours: value}, {"energy_eV": 8e4})


def test_other_names_are_nobodys_own() -> None:
    for method in OWN.values():
        assert not set(method.also) & set(OWN)
        words = [word for name, one in method.may_be_set.items() for word in (name.partition(".")[2], *one.also)]
        assert len(words) == len(set(words))


def test_a_setting_under_two_names_is_refused() -> None:
    with pytest.raises(MetadataError, match=r"wdd.epsilon is given twice"):
        registry.only_settings({"wdd.epsilon": 0.1, "WDD.eps_wiener": 0.2})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("wdd.epsilonn", "wdd.epsilon"),
        ("tcbf.order", "tcbf.align_order"),
        ("tcbf.upsampling", "tcbf.upsample"),
        ("wddd.epsilon", "wdd"),
    ],
)
def test_the_nearest_name_is_told(name: str, nearest: str) -> None:
    with pytest.raises(MetadataError) as refused:
        registry.setting(name)
    assert f"did you mean '{nearest}'?" in refused.value.hint


@pytest.mark.parametrize("name", ["obf.epsilon", "tcbf.bins"])
def test_that_the_method_is_right_makes_no_setting_the_nearest(name: str) -> None:
    with pytest.raises(MetadataError) as refused:
        registry.setting(name)
    assert refused.value.hint.startswith("it has ")


def test_a_method_without_a_setting_is_not_told_to_be_the_nearest_to_itself() -> None:
    with pytest.raises(MetadataError) as refused:
        registry.only_settings({"wdd": {"epsilon": 0.1}})
    assert refused.value.line() == "'wdd' is not a map setting: write METHOD.NAME, as wdd.epsilon"


def test_a_mistyped_method_is_told_among_metadata_too() -> None:
    with pytest.raises(MetadataError) as refused:
        registry.read_settings({"energy_eV": 80e3, "wddd.epsilon": 0.1})
    assert refused.value.line() == "'wddd.epsilon' is not a map setting: did you mean 'wdd'?"
    assert registry.read_settings({"optics.energy_eV": 80e3, "nothing.alike": 1}) == (
        {},
        {"optics.energy_eV": 80e3, "nothing.alike": 1},
    )


def test_methods_are_named_as_maps_are_and_as_elsewhere() -> None:
    assert check_methods(["wdd_phase", "parallax", "OBF"]) == tuple(m for m in METHODS if m in ("obf", "tcbf", "wdd"))
    with pytest.raises(MetadataError) as refused:
        check_methods(["wdd_phas"])
    assert refused.value.hint == "did you mean 'wdd_phase'?"


def test_a_word_stands_for_its_number() -> None:
    assert registry.only_settings({"tcbf.align_reference": "centre"}) == {"tcbf.align_reference": 1}
    with pytest.raises(MetadataError) as refused:
        registry.only_settings({"tcbf.align_reference": "center"})
    assert "did you mean 'centre'?" in refused.value.line()
