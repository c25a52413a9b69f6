"""Constraints and penalties on the object known from other programs: one small file each, found by the registry."""
