"""The vector of everything refined: its layout, the object's grid, constraints on its parts, where it lies."""
