"""engine/imaging/maps."""
