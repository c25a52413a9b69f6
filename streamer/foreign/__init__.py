"""Scan files of other programs (docs/files.md): each reader hands over a ``storage.scan_file.ScanFile``.

Frames stay where they are until they are asked for; units become the contract's in :mod:`.units` and nowhere else.
"""
