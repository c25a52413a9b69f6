"""The live engine: frames in, maps out, at any moment of a scan."""
