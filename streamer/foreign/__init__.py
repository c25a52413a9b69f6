"""Scan files of other programs (docs/files.md): each reader hands over a ``storage.scan_file.ScanFile``.

Frames stay in the file until they are accessed; units are converted to the contract's in :mod:`.units` and nowhere
else.
"""
