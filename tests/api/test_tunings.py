"""``ptylive.tune`` as scripts call it."""

import pytest

import ptylive
from ptylive.schema import MetadataError
from ptylive.server.tune import run


@pytest.fixture
def asked(monkeypatch):
    """Record what a call requests instead of running it."""
    found = []
    monkeypatch.setattr(run, "tune_scan", lambda wanted, *more: found.append((wanted, *more)))
    return found


def test_settings_metadata_and_ranges_are_handed_on(asked, tmp_path):
    ptylive.tune(
        tmp_path / "s.h5", "defocus,thickness=50:200", 7, preset={"probe_modes": 2}, metadata={"defocus_A": 5.0},
        seed=3, epoch_max=9,
    )  # fmt: skip
    ((wanted, trials, seed, _, listener),) = asked
    assert (trials, seed, wanted.folder) == (7, 3, tmp_path / "s_tuning")
    assert [one.tunable.name for one in wanted.over] == ["defocus_A", "total_thickness_A"]
    assert (wanted.preset.value("probe_modes"), wanted.preset.value("epoch_max")) == (2, 9)
    assert wanted.values == {"defocus_A": 5.0} and not listener.should_stop()
    assert (wanted.patterns, wanted.sweeps) == (576, 6)


def test_a_preset_may_be_an_object_and_a_folder_given(asked, tmp_path):
    ptylive.tune("s.h5", ["defocus"], out=tmp_path, preset=ptylive.Preset(probe_modes=3), patterns=99, sweeps=2)
    wanted = asked[0][0]
    assert wanted.preset.value("probe_modes") == 3 and wanted.folder == tmp_path
    assert (wanted.patterns, wanted.sweeps) == (99, 2)


def test_a_preset_may_be_a_file_that_knows_the_experiment_better(asked, tmp_path):
    (tmp_path / "p.toml").write_text(
        "[refine]\nprobe_modes = 3\n[optics]\nenergy_eV = 8e4\n[corrections]\ndefocus_A = 5.0\n"
    )
    ptylive.tune("s.h5", "defocus", out=tmp_path / "out", preset=str(tmp_path / "p.toml"), probe_modes=2)
    wanted = asked[0][0]
    assert wanted.preset.value("probe_modes") == 2
    assert (wanted.values, wanted.defaults) == ({"defocus_A": 5.0}, {"energy_eV": 8e4})


def test_notes_of_a_preset_are_logged(asked, tmp_path, caplog):
    (tmp_path / "p.json").write_text('{"fast_axis_reg_weight_tilts": 2.0}')
    ptylive.tune("s.h5", "defocus", out=tmp_path / "out", preset=tmp_path / "p.json")
    assert "fast_axis_reg_weight_tilts" in caplog.text


def test_what_cannot_be_is_refused(asked):
    with pytest.raises(MetadataError, match="by = 'luck' is unknown"):
        ptylive.tune("s.h5", "defocus", by="luck")
    with pytest.raises(MetadataError, match="cannot be tuned"):
        ptylive.tune("s.h5", "luck")
    assert asked == []
