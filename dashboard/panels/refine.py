"""The refine box: the settings that matter, Refine, Stop and Save."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from bokeh.models import Button, InlineStyleSheet, Select, TextInput

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.state import BUSY, RefinementState, RefinementSummary, ServerState
from ptylive.dashboard.panels.live.specimen_settings import SpecimenSettings
from ptylive.dashboard.requests import decimal_point
from ptylive.dashboard.words import REFINEMENT_WORDS, UNKNOWN, number, refinement_word, seconds, typeset
from ptylive.schema import PtyliveError
from ptylive.schema.preset.describe import toml_value
from ptylive.schema.preset.solver import MORE_EPOCHS
from ptylive.schema.preset.stages import settings_in
from ptylive.schema.settings_text import read_json, read_toml

NOT_GIVEN = "not given"
SWITCH = ("fixed", "refined")
"""What a field shows for off and on."""
PHASE_WORDS = {"trial": "trials", "sweep": "sweep", "lbfgs": "L-BFGS", "dgp": "networks"}


@dataclass(frozen=True)
class Setting:
    """One setting of the form; default and help text come from the preset itself."""

    key: str
    label: str
    left_to_the_server: bool = False
    """Whether nothing is sent until a word is chosen."""

    @property
    def help(self) -> str:
        """Description of the setting."""
        return Preset.settings()[self.key].description or ""

    @property
    def hint(self) -> str:
        """The first clause of the description, which fits on one line below the field."""
        return re.split("[;:]", self.help, maxsplit=1)[0]

    @property
    def default(self) -> str:
        """Default as typed; empty if there is none, or if the server's default applies."""
        if self.left_to_the_server:
            return ""
        value = Preset.settings()[self.key].default
        return "" if value is None else self.word(value)

    @property
    def is_switch(self) -> bool:
        """Whether the setting is on or off."""
        return Preset.settings()[self.key].annotation is bool

    def word(self, value: Any) -> str:
        """A value as the field shows it."""
        return SWITCH[bool(value)] if self.is_switch else str(value)

    def fits(self, value: Any) -> bool:
        """Whether the field can show a value: a switch does not support a schedule over the epochs."""
        return not self.is_switch or isinstance(value, bool | int)

    @property
    def options(self) -> tuple[str, ...]:
        """The words to choose from; empty for numbers."""
        if self.is_switch:
            return SWITCH
        return tuple(str(a) for a in get_args(Preset.full().settings()[self.key].annotation) if isinstance(a, str))


SETTINGS: tuple[Setting, ...] = (
    Setting("num_slices", "slices"),
    Setting("total_thickness_A", "thickness / Å"),
    Setting("epoch_max", "epochs"),
    Setting("sweeps", "sweeps"),
    Setting("probe_modes", "probe modes"),
    Setting("update_probe_pos", "positions"),
    Setting("algorithm", "loss"),
    Setting("start_map", "start map", left_to_the_server=True),
)


FURTHER = "further"
"""The field for every other setting, including those that the user's packages add."""
FURTHER_HELP = "other settings, NAME = VALUE, separated by commas; ptylive preset lists them all"
FURTHER_LENGTH = 2000
_MARKS = set(',"[]{}\\')


def parse_further(text: str) -> dict[str, Any]:
    """Settings as typed, ``NAME = VALUE, NAME = VALUE``; names without a value are left to the server to refuse.

    Lists are JSON; commas inside lists and quotes do not separate settings.
    """
    found = {}
    for pair in _parts(text):
        name, _, value = pair.partition("=")
        found[name.strip()] = _value(value.strip())
    return found


def further_text(values: Mapping[str, Any]) -> str:
    """Settings as the field shows them; words are not quoted unless necessary."""

    def word(value: Any) -> str:
        bare = isinstance(value, str) and not _MARKS & set(value) and parse_further(f"x={value}") == {"x": value}
        return str(value) if bare else json.dumps(value, ensure_ascii=False)

    return ", ".join(f"{key} = {word(value)}" for key, value in values.items())


def _value(text: str) -> Any:
    """Parse JSON that a preset file could contain too; otherwise return a number or the text itself."""
    try:
        value = read_json(text, "the setting")
        toml_value(value)
    except (ValueError, TypeError, PtyliveError):
        return parse(text)
    return value


def _parts(text: str) -> list[str]:
    """The parts between commas outside brackets and quotes; empty for an empty text."""
    parts, depth, quoted, escaped = [""], 0, False, False
    for sign in text:
        if sign == '"' and not escaped:
            quoted = not quoted
        escaped = sign == "\\" and not escaped
        if not quoted:
            depth += (sign in "[{") - (sign in "]}")
        if sign == "," and not quoted and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part for part in parts if part.strip()]


def parse(text: str) -> Any:
    """Typed text as a number if it is one, otherwise the text itself."""
    text = decimal_point(text.strip().replace("−", "-"))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class RefinePanel:
    """Form and buttons; ``on_refine`` gets the preset as plain values."""

    def __init__(
        self,
        style: InlineStyleSheet,
        on_refine: Callable[[dict[str, Any]], None],
        on_stop: Callable[[], None],
        on_save: Callable[[], None],
        on_resume: Callable[..., None],
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.queues = False
        """Whether a newly requested refinement would wait in line."""
        self._judged: dict[str, Any] = {}
        self._wrong: dict[str, str] = {}
        self._say, self._specimen = say, SpecimenSettings()
        self.fields = {setting.key: _field(setting, style) for setting in SETTINGS}
        self.further = TextInput(
            name=f"setting_{FURTHER}",
            placeholder="NAME = VALUE, …",
            max_length=FURTHER_LENGTH,
            sizing_mode="stretch_width",
            height=26,
            margin=0,
            stylesheets=[style],
        )
        self._on_refine = on_refine
        self._buttons: dict[str, list[Button]] = {}
        pressed = {"refine": lambda: self._on_refine(self.preset()), "stop": on_stop, "save": on_save}
        self._pressed: dict[str, Callable[[], None]] = {
            **pressed,
            "resume": on_resume,
            "more": lambda: on_resume(epochs=MORE_EPOCHS),
        }
        self._can = {"resume": False, "more": False}
        for view in ("session", "refine"):
            for action, on_click in pressed.items():
                button = Button(
                    name=f"{action}_{view}",
                    label={"refine": "Refine this scan", "stop": "Stop", "save": "Save"}[action],
                    button_type="primary" if action == "refine" else "default",
                    sizing_mode="stretch_width",
                    height=30,
                    disabled=True,
                    margin=0,
                    stylesheets=[style],
                )
                button.on_click(on_click)
                self._buttons.setdefault(action, []).append(button)

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return (*self.fields.values(), self.further, *(b for buttons in self._buttons.values() for b in buttons))

    def press(self, action: str) -> None:
        """Press a button from the keyboard; do nothing if it is disabled."""
        able = self._can[action] if action in self._can else not self._buttons[action][0].disabled
        if able:
            self._pressed[action]()

    def marks(self) -> dict[str, str]:
        """Whether there is a run to resume or to extend."""
        return {action: "on" if can else "off" for action, can in self._can.items()}

    def lists(self) -> dict[str, Any]:
        """What is wrong with the current settings, by field."""
        preset = self.preset()
        if preset != self._judged:
            self._judged, self._wrong = preset, wrong_settings(preset)
        return {"wrong": self._wrong}

    def preset(self) -> dict[str, Any]:
        """The current settings; empty fields are left to the server."""
        typed = {key: parse(field.value) for key, field in self.fields.items() if field.value.strip()}
        for setting in SETTINGS:
            if setting.is_switch and typed.pop(setting.key) == SWITCH[True]:
                typed[setting.key] = True
        return {**parse_further(self.further.value), **typed}

    def load(self, text: str) -> str:
        """Adopt a preset file (TOML); return what to report, including settings without a field of their own."""
        try:
            values = settings_in(read_toml(text, "the file"))
            Preset.from_mapping(values)
        except PtyliveError as error:
            return error.line()
        further = self.take_over(values)
        return "preset loaded" + (f", with {', '.join(further)}" if further else "")

    def take_over(self, values: Mapping[str, Any]) -> list[str]:
        """Fill the form with settings; return the names of those without a field of their own."""
        fitting = {s.key: values[s.key] for s in SETTINGS if s.key in values and s.fits(values[s.key])}
        for setting in SETTINGS:
            empty = SWITCH[False] if setting.is_switch else ""
            self.fields[setting.key].value = setting.word(fitting[setting.key]) if setting.key in fitting else empty
        further = {key: values[key] for key in sorted(values.keys() - fitting)}
        self.further.value = further_text(further)
        return list(further)

    def _follow(self, state: ServerState) -> None:
        """Leave what was typed for one specimen with its scan when another scan is shown, and say so."""
        if (taken := self._specimen.follow(state.uid or "", state.series or "", self.preset())) is not None:
            self.take_over(taken.settings)
            self.fields["total_thickness_A"].placeholder = taken.thickness or NOT_GIVEN
            if taken.words:
                self._say(taken.words)

    def enable(self, state: ServerState, shown: FeedView, *, free: bool) -> None:
        """Enable only buttons that can have an effect; ``free``: the server is connected and owes no reply.

        ``shown``: the run on display, the one that can be continued.
        """
        self._follow(state)
        running = state.refinement.state in BUSY
        has_frames = bool(state.frames or state.received)
        self.queues = running
        self._label("refine", "Queue this scan" if self.queues else "Refine this scan")
        self._disable("refine", not free or not has_frames)
        self._disable("stop", not free or state.refinement.state not in ("queued", "running"))
        run, ended = shown.refinement, free and not running
        falling = run is not None and run.falling and not run.stages
        self._can = {
            "resume": ended
            and shown.state.refinement.state in ("stopped", "failed")
            and (run is None or run.resumable),
            "more": ended and falling and shown.state.refinement.state == "done",
        }
        self._disable("save", not free or not has_frames)

    def _label(self, action: str, label: str) -> None:
        for button in self._buttons[action]:
            if button.label != label:
                button.label = label

    def _disable(self, action: str, disabled: bool) -> None:
        for button in self._buttons[action]:
            if button.disabled != disabled:
                button.disabled = disabled


_REMEDIES = {key: "; or type auto" for key in ("num_slices", "epoch_max", "sweeps", "probe_modes")}
_REMEDIES["total_thickness_A"] = "; type it in Å, or with a unit: 8 nm"


def wrong_settings(preset: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with each setting, in a few words; a fault of several settings goes to the first one named.

    A fault of a setting without a field of its own is reported at the field for all others.
    """
    found: dict[str, str] = {}
    every = {setting.key for setting in SETTINGS}
    for key, value in preset.items():
        if line := _refused({key: value}, alone=True):
            found.setdefault(key if key in every else FURTHER, f"{line}{_REMEDIES.get(key, '')}")
    if not found and (line := _refused(preset, alone=False)):
        named = [key for key in preset if key in line]
        found[next((key for key in named if key in every), FURTHER)] = line
    return found


def _refused(preset: Mapping[str, Any], *, alone: bool) -> str:
    """Why settings are refused; for a single setting (``alone``), leaving out that it requires another one."""
    try:
        Preset.from_mapping(preset)
    except PtyliveError as error:
        line = error.line().removeprefix("refinement settings: ").removesuffix(": correct the value or leave it out")
        for key in preset:
            line = line.removeprefix(f"refinement setting {key}: ")
        return "" if alone and error.line().startswith("refinement settings: ") else line
    return ""


def _field(setting: Setting, style: InlineStyleSheet) -> TextInput | Select:
    common = {
        "name": f"setting_{setting.key}",
        "value": setting.default,
        "sizing_mode": "stretch_width",
        "height": 26,
        "margin": 0,
        "stylesheets": [style],
    }
    if len(setting.options) > 1:
        unchosen = [("", "default")] if setting.left_to_the_server else []
        return Select(options=[*unchosen, *((word, word) for word in setting.options)], **common)
    return TextInput(placeholder=NOT_GIVEN, max_length=24, **common)


def refinement_texts(
    summary: RefinementSummary, refinement: RefinementState | None, shown: str | None = None
) -> dict[str, str]:
    """Progress of the refinement in words; ``shown``: uid of the displayed scan."""
    word = refinement_word(summary.state, None if refinement is None else refinement.converged)
    messages = [summary.message, None if refinement is None else refinement.message]
    if summary.state == "queued" and any((words or "").startswith("compiling") for words in messages):
        word = "compiling"
    busy = _busy_words(summary, refinement, messages)
    place = summary.place.removeprefix("on ").replace("tcp://", "") or (
        "this machine" if summary.state != "none" else UNKNOWN
    )
    if refinement is not None and refinement.uid and shown and refinement.uid != shown:
        word, busy = f"{word} on another scan", "" if summary.state == "failed" else busy
    if refinement is None or summary.state == "none":
        return {
            "refine_state": word,
            "refine_where": place,
            "refine_phase": UNKNOWN,
            "refine_epoch": UNKNOWN,
            "refine_loss": UNKNOWN,
            "refine_seconds": UNKNOWN,
            "refine_left": UNKNOWN,
            "refine_pace": UNKNOWN,
            "refine_evaluations": UNKNOWN,
            "refine_busy": busy,
        }
    pace = refinement.seconds / refinement.epoch if refinement.seconds and refinement.epoch else None
    epoch = UNKNOWN if refinement.epoch is None else f"{refinement.epoch}"
    if refinement.epoch is not None and refinement.epochs:
        epoch += f" of {refinement.epochs}"
    return {
        "refine_state": word,
        "refine_where": place,
        "refine_phase": PHASE_WORDS.get(refinement.phase or "", UNKNOWN),
        "refine_epoch": epoch,
        "refine_loss": number(refinement.loss, 5),
        "refine_seconds": seconds(refinement.seconds or None),
        "refine_pace": UNKNOWN if pace is None else f"{number(pace, 2)} s/epoch",
        "refine_evaluations": f"{number(refinement.evaluations, 3)} ×" if refinement.evaluations else UNKNOWN,
        "refine_left": seconds(refinement.seconds_left) if summary.state == "running" and pace else UNKNOWN,
        "refine_busy": busy,
    }


def _busy_words(summary: RefinementSummary, refinement: RefinementState | None, messages: list[str | None]) -> str:
    """What a refinement does that has no picture yet (it waits, or makes its trials), or why it failed without one."""
    if summary.state == "failed":
        return f"the refinement failed: {typeset(messages[1] or messages[0] or 'the log says why')}"
    if summary.state not in BUSY:
        return ""
    doing = (messages[1] or messages[0] or "").partition("; ")[0]
    tries = refinement is not None and refinement.phase == "trial"
    what = "trials before the first epoch" if tries else REFINEMENT_WORDS[summary.state]
    return f"{what}: {typeset(doing)}" if doing not in ("", "starting") else what
