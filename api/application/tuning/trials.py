"""Trials of a tuning, managed by Optuna: which values are tried next, and the results of those that were tried.

Optuna's journal is stored next to the results: one line of JSON per step, written before the next step, so that a
killed program loses no trial that had ended. Nothing in it is pickled.
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
"""Key in a plan of the refinement's settings, by name."""
PLAN, GROUPS, STATE, REASON, SECONDS, CONFIRMED = "plan", "groups", "state", "reason", "seconds", "confirmed"
FORMAT = 1
FIRST = 10
"""Number of random trials before the sampler uses earlier results."""
LEAST = 5
"""Completed trials needed to predict how others would have ended."""
MISSING = "tuning needs Optuna, which is not installed"
REMEDY = "pip install 'ptylive[tune]'"


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended. ``state``: done, pruned or failed."""

    number: int
    values: Mapping[str, Any]
    state: str
    groups: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """Loss of each group of patterns, by sweep."""
    seconds: float = 0.0
    reason: str = ""

    def loss(self, sweep: int) -> float | None:
        """Mean over the groups after ``sweep`` sweeps; None if the trial did not get that far."""
        return float(np.mean(self.groups[sweep])) if sweep in self.groups else None

    @property
    def last(self) -> float | None:
        """Mean over the groups after its last sweep."""
        return self.loss(max(self.groups)) if self.groups else None


@dataclass(frozen=True)
class TrialRequest:
    """A trial to be carried out."""

    number: int
    values: Mapping[str, Any]


def check_optuna() -> None:
    """Raise PtyliveError if Optuna is not installed."""
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise PtyliveError(MISSING, REMEDY)


class Trials:
    """Trials over given ranges, in a journal file that is continued. Not thread-safe."""

    def __init__(self, path: Path, plan: Mapping[str, Any], over: Sequence[Range], sweeps: int, seed: int) -> None:
        """``plan``: everything that all trials have in common; no other process may write the journal meanwhile.

        Raises PtyliveError if Optuna is missing, InputFileError for a damaged journal, and for trials of another plan.
        """
        check_optuna()
        import optuna

        self._over, self._sweeps = {value_range.name: value_range for value_range in over}, sweeps
        _mend(path)
        with _quiet(), _readable(path):
            storage = optuna.storages.JournalStorage(
                optuna.storages.journal.JournalFileBackend(str(path), lock_obj=_NoLock())
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
            stored_plan = self._study.user_attrs.get(PLAN)
            if stored_plan is None:
                self._study.set_user_attr(PLAN, dict(plan))
            elif differs := _difference(stored_plan, json.loads(json.dumps(plan))):
                raise InputFileError(
                    f"{path} belongs to a tuning that differs in {differs}",
                    "give another --out, or repeat the same request",
                )
            self._open: dict[int, Any] = {}
            self._resume()

    def _resume(self) -> None:
        """Retry the trials that were running when an earlier program ended."""
        import optuna

        for stored_trial in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if STATE in stored_trial.user_attrs:  # it had ended, but was not yet reported to Optuna
                self._report_end(stored_trial.number, _tried(stored_trial))
            else:
                self._study.enqueue_trial(stored_trial.params)
                self._study.tell(stored_trial.number, state=optuna.trial.TrialState.FAIL)

    def ask(self, values: Mapping[str, Any] | None = None) -> TrialRequest:
        """Begin the next trial: with ``values``, or as the sampler suggests."""
        with _quiet():
            if values is not None:
                self._study.enqueue_trial(dict(values), skip_if_exists=False)
            trial = self._study.ask()
            chosen = {name: self._suggested(trial, value_range) for name, value_range in self._over.items()}
            self._open[trial.number] = trial
            return TrialRequest(trial.number, chosen)

    @staticmethod
    def _suggested(trial: Any, value_range: Range) -> Any:
        if value_range.kind == Kind.CHOICE:
            return trial.suggest_categorical(value_range.name, list(value_range.choices))
        if value_range.kind == Kind.WHOLE:
            return trial.suggest_int(
                value_range.name, round(value_range.low), round(value_range.high), log=value_range.log
            )
        return trial.suggest_float(value_range.name, value_range.low, value_range.high, log=value_range.log)

    def report(self, number: int, sweep: int, groups: Sequence[float]) -> bool:
        """Record a trial's losses after a sweep; return whether the trial should be pruned."""
        trial = self._open[number]
        with _quiet():
            trial.report(float(np.mean(groups)), sweep)
            return bool(sweep < self._sweeps and trial.should_prune())

    def end(self, tried: FinishedTrial) -> None:
        """Store the result of a trial. Raises OSError if the journal cannot be written."""
        trial = self._open.pop(tried.number)
        trial.set_user_attr(GROUPS, {str(sweep): list(groups) for sweep, groups in tried.groups.items()})
        trial.set_user_attr(SECONDS, tried.seconds)
        trial.set_user_attr(REASON, tried.reason)
        trial.set_user_attr(STATE, tried.state)
        self._report_end(trial, tried)

    def _report_end(self, trial: Any, tried: FinishedTrial) -> None:
        import optuna

        states = optuna.trial.TrialState
        state = {"done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[tried.state]
        self._study.tell(trial, tried.last if tried.state == "done" else None, state=state)

    def give_up(self, number: int) -> None:
        """Abandon an interrupted trial; a later call tries it again."""
        import optuna

        trial = self._open.pop(number)
        self._study.enqueue_trial(trial.params)
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def ended(self) -> list[FinishedTrial]:
        """All trials that have ended, in the order they began, without interrupted ones."""
        return [_tried(trial) for trial in self._study.get_trials(deepcopy=False) if STATE in trial.user_attrs]

    @property
    def confirmed(self) -> Mapping[str, Any]:
        """The values stored last by :meth:`confirm`."""
        return dict(self._study.user_attrs.get(CONFIRMED, {}))

    def confirm(self, found: Mapping[str, Any]) -> None:
        """Store the losses found on other patterns."""
        self._study.set_user_attr(CONFIRMED, dict(found))


class _NoLock:
    """Lock of a journal with a single writer: the folder is locked already, and Optuna's lock would survive a kill."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _tried(trial: Any) -> FinishedTrial:
    attributes = trial.user_attrs
    groups = {int(sweep): tuple(float(loss) for loss in groups) for sweep, groups in attributes[GROUPS].items()}
    return FinishedTrial(
        trial.number, dict(trial.params), attributes[STATE], groups, float(attributes[SECONDS]), str(attributes[REASON])
    )


def _difference(stored: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The common properties and settings that differ between two plans, in words; empty if none does.

    A setting that did not exist when the trials were made is assumed to have had its default.
    """
    titles = {"over": "the varied values", "scan": "the scan"}
    different = [name for name in {**stored, **plan} if name != SETTINGS and stored.get(name) != plan.get(name)]
    differences = [titles.get(name, name) for name in different]
    settings_now = plan.get(SETTINGS, {})
    settings_before = {**json.loads(Preset.full()().model_dump_json()), **stored.get(SETTINGS, {})}
    if settings := [name for name, value in settings_now.items() if settings_before.get(name) != value]:
        differences.append(f"settings ({', '.join(settings[:3])}{', …' if len(settings) > 3 else ''})")
    return ", ".join(differences)


def _mend(path: Path) -> None:
    """Remove an incomplete last line: the step it describes had not happened yet."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            file.truncate(complete)
            os.fsync(file.fileno())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Report a damaged journal in one line, whatever the library says."""
    try:
        yield
    except (PtyliveError, OSError):
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:120]
        raise InputFileError(
            f"{path} is damaged: {message or type(error).__name__}", "start again with another --out"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna: messages that matter are issued by this program."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def losses(tried: Sequence[FinishedTrial], sweep: int) -> tuple[list[FinishedTrial], DoubleArray]:
    """Trials that reached a sweep, and the losses of their groups (trials, groups)."""
    reached = [trial for trial in tried if sweep in trial.groups]
    return reached, np.array([trial.groups[sweep] for trial in reached], dtype=float)


def filled(tried: Sequence[FinishedTrial], sweep: int) -> tuple[list[FinishedTrial], DoubleArray]:
    """As :func:`losses`, including trials pruned in the second half, with their losses extrapolated.

    They were pruned because they were bad, and a fit without them would look for the best among them. The gain of
    further sweeps depends on the loss before; it is taken from a straight line through trials that went further.
    """
    reached, groups = losses(tried, sweep)
    trials, rows = list(reached), [groups] if len(reached) else []
    for last in range(max(1, sweep // 2), sweep):
        ended = [trial for trial in tried if trial.groups and max(trial.groups) == last]
        if not ended or len(reached) < LEAST or (groups <= 0).any():
            continue  # a correlation may have either sign
        early, late = (
            np.log([np.mean(trial.groups[reached_sweep]) for trial in reached]) for reached_sweep in (last, sweep)
        )
        last_losses = np.array([trial.groups[last] for trial in ended], dtype=float)
        steepness, level = np.polyfit(early, late - early, 1) if np.ptp(early) > 0 else (0.0, (late - early).mean())
        change = level + steepness * np.log(last_losses.mean(axis=1))
        change = np.clip(change, (late - early).min(), (late - early).max())
        trials += ended
        rows.append(last_losses * np.exp(change)[:, None])
    return trials, np.concatenate(rows) if rows else groups
