"""The command that sets numbers of live maps: `map_settings` (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptylive.engine.imaging.registry import only_settings, setting
from ptylive.schema import CommandError
from ptylive.server.session.scan_session import ScanSession


class MapCommands:
    """Settings of live maps: of the scan that is shown, and of all that begin later.

    ``given``: those of the configuration, checked; ``again`` makes the results of a scan that has finished once more.
    """

    def __init__(
        self,
        given: Mapping[str, float],
        current: Callable[[], ScanSession | None],
        again: Callable[[ScanSession], None],
    ) -> None:
        self._settings: Mapping[str, float] = dict(given)
        self._current, self._again = current, again

    @property
    def settings(self) -> dict[str, float]:
        """What is set; everything else is at its default."""
        return dict(self._settings)

    def command_map_settings(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Set numbers of live maps, METHOD.NAME (docs/maps.md); null goes back to the default. Without: what is set."""
        if values is None:
            return {"settings": self.settings}
        if not isinstance(values, Mapping):
            raise CommandError("values must be a map of settings, METHOD.NAME, to numbers")
        for name in values:
            setting(name)
        chosen = only_settings({name: value for name, value in values.items() if value is not None})
        kept = {name: value for name, value in self._settings.items() if name not in values}
        self._settings = {**kept, **chosen}
        scan = self._current()
        if scan is not None:
            scan.use_map_settings(self._settings)
            if scan.ended is not None:
                self._again(scan)
        return {"settings": self.settings}
