"""The vector of all refined parameters: its layout, the object's grid, constraints on its parts, its device."""
