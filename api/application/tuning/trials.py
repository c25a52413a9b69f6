"""Trials of a tuning, kept by Optuna: which values are tried next, and what came of those that were tried.

Optuna's journal lies beside the results: a line of JSON for each step, written before the next one is taken, so that a
program that is killed loses no trial that had ended. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.extensions import Preset
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.tunables import Kind
from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.model import DoubleArray

JOURNAL = "trials.journal"
STUDY = "ptylive tune"
SETTINGS = "settings"
"""Of a plan: those of the refinement, by name."""
PLAN, GROUPS, STATE, REASON, SECONDS, CONFIRMED = "plan", "groups", "state", "reason", "seconds", "confirmed"
FORMAT = 1
FIRST = 10
"""Trials at random before the sampler looks at what there is."""
LEAST = 5
"""Trials that came to their end, from which it can be told how others would have."""
MISSING = "tuning needs Optuna, which is not installed"
REMEDY = "pip install 'ptylive[tune]'"


@dataclass(frozen=True)
class Tried:
    """A trial that has ended. ``state``: done, pruned or failed."""

    number: int
    values: Mapping[str, Any]
    state: str
    groups: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """After each sweep what each group of patterns says."""
    seconds: float = 0.0
    reason: str = ""

    def loss(self, sweep: int) -> float | None:
        """Mean over the groups after ``sweep`` sweeps; None where it did not come so far."""
        return float(np.mean(self.groups[sweep])) if sweep in self.groups else None

    @property
    def last(self) -> float | None:
        """The same after its last sweep."""
        return self.loss(max(self.groups)) if self.groups else None


@dataclass(frozen=True)
class Ask:
    """A trial that is to be made."""

    number: int
    values: Mapping[str, Any]


def check_optuna() -> None:
    """Raise PtyliveError in one line where Optuna is not installed."""
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise PtyliveError(MISSING, REMEDY)


class Trials:
    """Trials over some ranges, in a journal file that goes on where it ended. Callable from one thread at a time."""

    def __init__(self, path: Path, plan: Mapping[str, Any], over: Sequence[Range], sweeps: int, seed: int) -> None:
        """``plan``: what all trials have in common; nobody else writes the journal meanwhile.

        Raises PtyliveError where Optuna is missing, InputFileError for a journal that is damaged, and for trials of
        another plan.
        """
        check_optuna()
        import optuna

        self._over, self._sweeps = {one.name: one for one in over}, sweeps
        _mend(path)
        with _quiet(), _readable(path):
            storage = optuna.storages.JournalStorage(
                optuna.storages.journal.JournalFileBackend(str(path), lock_obj=_Ours())
            )
            self._study = optuna.create_study(
                storage=storage,
                study_name=STUDY,
                sampler=optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=FIRST, multivariate=True, constant_liar=True
                ),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=max(1, sweeps // 2)),
                load_if_exists=True,
            )
            known = self._study.user_attrs.get(PLAN)
            if known is None:
                self._study.set_user_attr(PLAN, dict(plan))
            elif differs := _difference(known, json.loads(json.dumps(plan))):
                raise InputFileError(
                    f"{path} is of a tuning that differs in {differs}", "give another --out, or ask for the same again"
                )
            self._open: dict[int, Any] = {}
            self._take_up_again()

    def _take_up_again(self) -> None:
        """What was under way when an earlier program ended is tried again."""
        import optuna

        for one in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if STATE in one.user_attrs:  # it had ended, and only Optuna did not know yet
                self._tell(one.number, _tried(one))
            else:
                self._study.enqueue_trial(one.params)
                self._study.tell(one.number, state=optuna.trial.TrialState.FAIL)

    def ask(self, values: Mapping[str, Any] | None = None) -> Ask:
        """The next trial: of ``values``, or as the sampler thinks."""
        with _quiet():
            if values is not None:
                self._study.enqueue_trial(dict(values), skip_if_exists=False)
            trial = self._study.ask()
            chosen = {name: self._suggested(trial, one) for name, one in self._over.items()}
            self._open[trial.number] = trial
            return Ask(trial.number, chosen)

    @staticmethod
    def _suggested(trial: Any, one: Range) -> Any:
        if one.kind == Kind.CHOICE:
            return trial.suggest_categorical(one.name, list(one.choices))
        if one.kind == Kind.WHOLE:
            return trial.suggest_int(one.name, round(one.low), round(one.high), log=one.log)
        return trial.suggest_float(one.name, one.low, one.high, log=one.log)

    def report(self, number: int, sweep: int, groups: Sequence[float]) -> bool:
        """Note what a trial says after a sweep; whether it is no longer worth its time."""
        trial = self._open[number]
        with _quiet():
            trial.report(float(np.mean(groups)), sweep)
            return bool(sweep < self._sweeps and trial.should_prune())

    def end(self, tried: Tried) -> None:
        """Keep what came of a trial. Raises OSError where the journal cannot be written."""
        trial = self._open.pop(tried.number)
        trial.set_user_attr(GROUPS, {str(sweep): list(groups) for sweep, groups in tried.groups.items()})
        trial.set_user_attr(SECONDS, tried.seconds)
        trial.set_user_attr(REASON, tried.reason)
        trial.set_user_attr(STATE, tried.state)
        self._tell(trial, tried)

    def _tell(self, trial: Any, tried: Tried) -> None:
        import optuna

        states = optuna.trial.TrialState
        state = {"done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[tried.state]
        self._study.tell(trial, tried.last if tried.state == "done" else None, state=state)

    def give_up(self, number: int) -> None:
        """A trial that was interrupted: it is tried again by a later call."""
        import optuna

        trial = self._open.pop(number)
        self._study.enqueue_trial(trial.params)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def ended(self) -> list[Tried]:
        """All that have ended, in the order they were begun; those that were interrupted are none."""
        return [_tried(one) for one in self._study.get_trials(deepcopy=False) if STATE in one.user_attrs]

    @property
    def confirmed(self) -> Mapping[str, Any]:
        """What was kept last by :meth:`confirm`."""
        return dict(self._study.user_attrs.get(CONFIRMED, {}))

    def confirm(self, found: Mapping[str, Any]) -> None:
        """Keep what was found on other patterns."""
        self._study.set_user_attr(CONFIRMED, dict(found))


class _Ours:
    """The lock of a journal that nobody else writes: the folder is locked, and Optuna's would outlive a kill."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _tried(one: Any) -> Tried:
    said = one.user_attrs
    groups = {int(sweep): tuple(float(each) for each in groups) for sweep, groups in said[GROUPS].items()}
    return Tried(one.number, dict(one.params), said[STATE], groups, float(said[SECONDS]), str(said[REASON]))


def _difference(known: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Which of the things that are alike in all trials differ, and which settings; empty where none does.

    A setting that there was not yet when the trials were made is taken to have been as it is by default.
    """
    words = {"over": "what is varied", "scan": "the scan"}
    apart = [name for name in {**known, **plan} if name != SETTINGS and known.get(name) != plan.get(name)]
    said = [words.get(name, name) for name in apart]
    now = plan.get(SETTINGS, {})
    before = {**json.loads(Preset.full()().model_dump_json()), **known.get(SETTINGS, {})}
    if settings := [name for name, value in now.items() if before.get(name) != value]:
        said.append(f"settings ({', '.join(settings[:3])}{', …' if len(settings) > 3 else ''})")
    return ", ".join(said)


def _mend(path: Path) -> None:
    """Cut off a last line that was not written to its end: what it told had not happened yet."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """One line for a journal that is damaged, whatever the library says of it."""
    try:
        yield
    except (PtyliveError, OSError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        raise InputFileError(
            f"{path} is damaged: {said or type(error).__name__}", "begin anew with another --out"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """What matters is said in our own words."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def losses(tried: Sequence[Tried], sweep: int) -> tuple[list[Tried], DoubleArray]:
    """Trials that came as far as a sweep, and (trials, groups) what their groups say."""
    there = [one for one in tried if sweep in one.groups]
    return there, np.array([one.groups[sweep] for one in there], dtype=float)


def filled(tried: Sequence[Tried], sweep: int) -> tuple[list[Tried], DoubleArray]:
    """The same with trials that were given up in the second half: how they would have gone on.

    They were given up for being bad, and a fit that knew nothing of them would look for the best among them. What a
    sweep brings depends on the loss before it; that is read from the trials that came further, and a straight line.
    """
    there, groups = losses(tried, sweep)
    found, rows = list(there), [groups] if len(there) else []
    for last in range(max(1, sweep // 2), sweep):
        ended = [one for one in tried if one.groups and max(one.groups) == last]
        if not ended or len(there) < LEAST or (groups <= 0).any():
            continue  # a correlation may be what it likes
        before, after = (np.log([np.mean(one.groups[at]) for one in there]) for at in (last, sweep))
        here = np.array([one.groups[last] for one in ended], dtype=float)
        steepness, level = (
            np.polyfit(before, after - before, 1) if np.ptp(before) > 0 else (0.0, (after - before).mean())
        )
        change = level + steepness * np.log(here.mean(axis=1))
        change = np.clip(change, (after - before).min(), (after - before).max())
        found += ended
        rows.append(here * np.exp(change)[:, None])
    return found, np.concatenate(rows) if rows else groups
