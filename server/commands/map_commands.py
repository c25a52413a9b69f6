"""The command `map_settings`, which sets numbers of live maps (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ptylive.engine.imaging.registry import only_settings, setting, setting_name
from ptylive.schema import CommandError
from ptylive.server.session.scan_session import ScanSession


class MapCommands:
    """Settings of live maps: for the scan being shown, scans being received, and all that begin later.

    ``given``: validated settings of the configuration; ``again`` remakes the results of a finished scan.
    """

    def __init__(
        self,
        given: Mapping[str, float],
        current: Callable[[], ScanSession | None],
        running: Callable[[], Iterable[ScanSession]],
        again: Callable[[ScanSession], None],
    ) -> None:
        self._settings: Mapping[str, float] = dict(given)
        self._current, self._running, self._refresh = current, running, again

    @property
    def settings(self) -> dict[str, float]:
        """Settings in force; everything else is at its default."""
        return dict(self._settings)

    def restore(self, settings: Mapping[str, float]) -> None:
        """Restore the settings of the server process that this one replaces."""
        self._settings = only_settings(dict(settings))

    def given_to(self, scan: ScanSession) -> ScanSession:
        """Set these settings on a scan opened from its files, for maps made again, and return it."""
        scan.map_settings = self.settings
        return scan

    def command_map_settings(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Set numbers of live maps, METHOD.NAME (docs/maps.md), null for the default, and return the settings."""
        if values is None:
            return {"settings": self.settings}
        if not isinstance(values, Mapping):
            raise CommandError("values must map settings, METHOD.NAME, to numbers")
        for name in values:
            setting(name)
        values = {setting_name(name): value for name, value in values.items()}
        chosen = only_settings({name: value for name, value in values.items() if value is not None})
        unchanged = {name: value for name, value in self._settings.items() if name not in values}
        self._settings = {**unchanged, **chosen}
        shown = self._current()
        for scan in {id(each): each for each in (shown, *self._running()) if each is not None}.values():
            scan.use_map_settings(self._settings)
        if shown is not None and shown.ended is not None:
            self._refresh(shown)
        return {"settings": self.settings}
