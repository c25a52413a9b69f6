"""Which settings may follow the epoch, and their values in one epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.added import declared
from ptylive.schema.schedule import Schedule
from ptylive.schema.word_schedule import WordSchedule, looks_like_word_schedule

_T = TypeVar("_T")

SCHEDULABLE = frozenset(
    {
        "update_obj",
        "update_probe",
        "update_probe_pos",
        "update_beam_current",
        "update_detector_psf",
        "update_static_background",
        "update_slice_distances",
        "update_thickness",
        "update_aberrations",
        "update_tilts",
        "phase_only_obj",
        "hist_length",
        "update_step_bfgs",
        "wolfe_c1_constant",
        "wolfe_c2_constant",
        "loss_weight",
        "phase_norm_weight",
        "abs_norm_weight",
        "atv_weight",
        "atv_p",
        "atv_q",
        "missing_wedge_weight",
        "missing_wedge_beta",
        "mixed_variance_weight",
        "mixed_variance_sigma",
        "probe_reg_constraint_weight",
        "window_weight",
        "fast_axis_reg_weight_positions",
        "slow_axis_reg_weight_positions",
        "deformation_reg_weight_positions",
        "fast_axis_reg_weight_tilts",
        "slow_axis_reg_weight_tilts",
        "deformation_reg_weight_tilts",
        "apply_gaussian_filter_px",
        "apply_gaussian_filter_amplitude_px",
        "beta_wedge",
        "keep_probe_states_orthogonal",
        "do_charge_flip",
        "cf_delta_phase",
        "cf_delta_abs",
        "cf_beta_phase",
        "cf_beta_abs",
        "restart_from_vacuum",
        "reset_positions",
        "reset_history_flag",
    }
)
"""Settings that accept an expression in ``epoch`` instead of a value (schema/schedule.py has the grammar)."""


def schedulable() -> frozenset[str]:
    """SCHEDULABLE, including settings that were added to the preset."""
    return SCHEDULABLE | {name for name, setting in declared(ask=False).items() if setting.follows_epoch}


WORDS = frozenset({"probe_part", "sequence"})
"""Settings that accept words joined by ``if … else`` (schema/word_schedule.py has the grammar)."""
NARROWING: Mapping[str, Any] = MappingProxyType({"phase_only_obj": False, "probe_part": "both", "sequence": None})
"""Settings that hold something back; if they follow a schedule, their own value is the one that holds nothing."""

PLAIN_WORDS = ("auto", "true", "false", "yes", "no", "on", "off", "t", "f", "y", "n")


def taken_apart(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Schedule | WordSchedule]]:
    """Separate plain settings from those that follow the epoch. Raises MetadataError for text that is neither."""
    plain: dict[str, Any] = {}
    expressions = values.get("schedules") or {}
    if not isinstance(expressions, Mapping):
        raise MetadataError(f"schedules is {str(expressions)[:40]!r}", "write NAME = 'EXPRESSION' for each")
    schedules = {str(name): parsed(str(name), text) for name, text in expressions.items()}
    for name, value in values.items():
        if name == "schedules":
            continue
        schedule = _schedule(name, value)
        if schedule is None:
            plain[name] = value
        elif schedule.constant:
            plain[name] = schedule.at(0)
        else:
            schedules[name] = schedule
    return plain, schedules


def parsed(name: str, text: Any) -> Schedule | WordSchedule:
    """Parse the text of a setting that follows the epoch. Raises MetadataError."""
    if isinstance(text, Schedule | WordSchedule):
        return text
    if not isinstance(text, str):
        raise MetadataError(f"schedules.{name} is {str(text)[:40]!r}", "write an expression in epoch, as text")
    return _named(name, WordSchedule.parse, text) if name in WORDS else _named(name, Schedule.parse, text)


def _schedule(name: str, value: Any) -> Schedule | WordSchedule | None:
    """The schedule a text stands for; None for plain values and for text that is a number or a truth value."""
    if isinstance(value, Schedule | WordSchedule):
        return value
    if not isinstance(value, str):
        return None
    if name in WORDS:
        return (
            _named(name, WordSchedule.parse, value)
            if looks_like_word_schedule(value) and not value.endswith(".npy")
            else None
        )
    if name not in schedulable() or value.strip().lower() in PLAIN_WORDS:
        return None
    return _named(name, Schedule.parse, value)


def _named(name: str, parse: Callable[[str], _T], text: str) -> _T:
    """Parse a text. Raises MetadataError naming the setting."""
    try:
        return parse(text)
    except MetadataError as error:
        raise MetadataError(f"{name}: {error}", error.hint) from None
