"""A tuning from a scan to its report, with fake trials."""

from contextlib import nullcontext

import pytest
from tuning_trials import tried

from ptylive.application.presets import load_preset
from ptylive.application.simulation import simulate_file
from ptylive.application.tuning.ranges import parse_over
from ptylive.application.tuning.trials import JOURNAL
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema.files.filelock import FileBusyError, locked
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.tune.beginning import Wanted
from ptylive.server.tune.run import Listener, tune_scan

pytest.importorskip("optuna", reason="needs the extra 'tune'")


class Worker:
    """Answers at once, with known losses; the minimum is at 30 Å."""

    def __init__(self, job):
        self.told = []

    def messages(self):
        yield {"kind": "ready"}
        while "try" in (message := self.told.pop(0)):
            number, values = message["try"]["trial"], message["try"]["values"]
            for sweep, groups in tried(number, values).groups.items():
                yield {"kind": "sweep", "trial": number, "sweep": sweep, "groups": list(groups)}
            yield {"kind": "tried", "trial": number, "state": "done", "reason": "", "seconds": 0.1}
            self.told = [one for one in self.told if "prune" not in one]
        yield {"kind": "ended"}

    def tell(self, message):
        self.told.append(message)

    def end(self):
        pass


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    simulate_file(folder / "s.h5", SimulationSettings.of({"scan_shape": (12, 12), "seed": 1}), overwrite=False)
    preset = Preset.from_mapping({"probe_modes": 1, "num_slices": 1})
    over = parse_over(["defocus=-200:200"], Judge.HELD_OUT)
    return Wanted(folder / "s.h5", folder / "out", over, preset, {}, {}, patterns=64, sweeps=4)


def test_trials_become_sentences_and_files(wanted):
    heard, seen = [], []
    where = nullcontext((Worker, lambda: 1))
    done = tune_scan(wanted, 12, 0, where, Listener(heard.append, seen.append))
    assert done.outcome.values["defocus_A"] == pytest.approx(30.0, abs=10.0)
    assert done.outcome.sentences[0].startswith("defocus ")
    assert set(done.files) == {"report", "preset", "trials_csv"} and all(path.exists() for path in done.files.values())
    assert load_preset(done.files["preset"]).corrections == done.outcome.values
    assert heard[-1] == "evaluating the trials" and seen


def test_one_call_at_a_time_has_a_folder(wanted):
    wanted.folder.mkdir(exist_ok=True)
    with locked(wanted.folder / JOURNAL, 0.0), pytest.raises(FileBusyError):
        tune_scan(wanted, 12, 0, nullcontext((Worker, lambda: 1)), Listener())
