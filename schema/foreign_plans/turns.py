"""When a feature is on: PtyRAD's iterations and phaser's flags, which count from 1, as expressions in ``epoch``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.foreign_plans.plan import number_of


def ptyrad_turns(value: Mapping[str, Any], name: str, otherwise: int | None = None) -> bool | str:
    """Convert ``start_iter``, ``step`` and ``end_iter``, the first iteration without: never, always, or an expression.
    ``otherwise``: used where ``start_iter`` is not given.
    """
    start = value.get("start_iter", otherwise)
    if start is None:
        return False
    first = int(number_of(start, f"{name}.start_iter")) - 1
    step = int(number_of(value.get("step") or 1, f"{name}.step"))
    end = value.get("end_iter")
    last = None if end is None else int(number_of(end, f"{name}.end_iter")) - 1
    return _turns(first, step, last, name)


def phaser_turns(value: Any, name: str) -> bool | str:
    """A truth value, or ``after``, ``every``, ``before``: on after ``after``, every ``every``-th, until ``before``."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, Mapping) or set(value) - {"after", "every", "before"}:
        raise MetadataError(f"{name} = {brief(value)} is not imported", "use after, every and before")
    after = int(number_of(value.get("after", 0), f"{name}.after"))
    every = int(number_of(value.get("every", 1), f"{name}.every"))
    before = value.get("before")
    last = None if before is None else int(number_of(before, f"{name}.before")) - 1
    return _turns(after + every - 1, every, last, name)


def _turns(first: int, step: int, last: int | None, name: str) -> bool | str:
    """On from epoch ``first``, every ``step``-th, below ``last``."""
    if step < 1:
        raise MetadataError(f"{name}: a step of {step} iterations never occurs", "correct the file")
    conditions = [f"epoch >= {first}"] if first > 0 else []
    conditions += [] if last is None else [f"epoch < {last}"]
    if step > 1:
        conditions.append(f"(epoch - {first}) % {step} == 0" if first > 0 else f"epoch % {step} == 0")
    return " and ".join(conditions) or True


def both(first: bool | str, second: bool | str) -> bool | str:
    """On where either is on."""
    if first is True or second is True:
        return True
    conditions = [each for each in (first, second) if isinstance(each, str)]
    if len(set(conditions)) == 2:
        return f"({conditions[0]}) or ({conditions[1]})"
    return conditions[0] if conditions else False


def strength(turns: bool | str, value: float) -> float | str:
    """A number while a feature is on, 0 while it is off."""
    return f"{value!r} if {turns} else 0" if isinstance(turns, str) else value if turns else 0.0
