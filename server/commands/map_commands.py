"""The command that sets numbers of live maps: `map_settings` (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ptylive.engine.imaging.registry import only_settings, setting, setting_name
from ptylive.schema import CommandError
from ptylive.server.session.scan_session import ScanSession


class MapCommands:
    """Settings of live maps: of the scan that is shown, those that are being received, and all that begin later.

    ``given``: those of the configuration, checked; ``again`` makes the results of a scan that has finished once more.
    """

    def __init__(
        self,
        given: Mapping[str, float],
        current: Callable[[], ScanSession | None],
        running: Callable[[], Iterable[ScanSession]],
        again: Callable[[ScanSession], None],
    ) -> None:
        self._settings: Mapping[str, float] = dict(given)
        self._current, self._running, self._again = current, running, again

    @property
    def settings(self) -> dict[str, float]:
        """What is set; everything else is at its default."""
        return dict(self._settings)

    def restore(self, settings: Mapping[str, float]) -> None:
        """Go on with the settings of a server whose place this one takes."""
        self._settings = only_settings(dict(settings))

    def given_to(self, scan: ScanSession) -> ScanSession:
        """A scan opened from its files: what is made of it again is made with these."""
        scan.map_settings = self.settings
        return scan

    def command_map_settings(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Set numbers of live maps, METHOD.NAME (docs/maps.md); null goes back to the default. Without: what is set."""
        if values is None:
            return {"settings": self.settings}
        if not isinstance(values, Mapping):
            raise CommandError("values must be a map of settings, METHOD.NAME, to numbers")
        for name in values:
            setting(name)
        values = {setting_name(name): value for name, value in values.items()}
        chosen = only_settings({name: value for name, value in values.items() if value is not None})
        kept = {name: value for name, value in self._settings.items() if name not in values}
        self._settings = {**kept, **chosen}
        shown = self._current()
        for scan in {id(one): one for one in (shown, *self._running()) if one is not None}.values():
            scan.use_map_settings(self._settings)
        if shown is not None and shown.ended is not None:
            self._again(shown)
        return {"settings": self.settings}
