"""Measures of a reconstruction: ring and shell correlation, profiles, modes, transfer (PyPty's ``vaa``)."""
