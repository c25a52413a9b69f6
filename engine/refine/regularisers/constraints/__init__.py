"""Constraints and penalties of the object that other programs have: one small file each, found by the registry."""
