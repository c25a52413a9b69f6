"""Who may talk to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from ptylive.schema.model import StrictModel
from ptylive.server.process.operators import is_operator


def in_home(path: str) -> str:
    """Return a path with ``~`` replaced by the home folder. Raises ValueError for the home of an unknown user."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise ValueError(f"{path!r}: {error}; give the full path") from None


class Security(StrictModel):
    """Who may talk to the server (docs/protocol.md, "Keys")."""

    keys: str | None = Field(default=None, description="key folder; none: no encryption, this machine only")
    token: bool = Field(default=False, description="the dashboard requires a token, printed at the start")
    names: tuple[str, ...] = Field(
        default=(), description="host names under which browsers may open the dashboard: NAME or NAME:PORT"
    )
    viewers_fetch: bool = Field(default=False, description="viewers may also download scans, results and exports")
    operators: tuple[str, ...] = Field(
        default=(), description="names of operators, each with a personal token; the log names who did what"
    )

    @model_validator(mode="before")
    @classmethod
    def _operators_have_tokens(cls, values: Any) -> Any:
        return {"token": True, **values} if isinstance(values, dict) and values.get("operators") else values

    @field_validator("keys")
    @classmethod
    def _of_a_home(cls, value: str | None) -> str | None:
        return value if value is None else in_home(value)

    @field_validator("operators")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not is_operator(name) or value.count(name) > 1:
                raise ValueError(f"{name!r} is not a name of letters, digits, dots and dashes, or is given twice")
        return value
