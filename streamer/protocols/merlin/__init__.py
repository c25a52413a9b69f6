"""Quantum Detectors Merlin (Medipix3): the data its software sends over TCP, and its control port.

Facts: LiberTEM-rs ``libertem_qd_mpx`` (prefix, headers, raw packing), LiberTEM-live (control port, simulator), and the
reader of ``.mib`` files in LiberTEM (raw frames of 24 bits).
"""
