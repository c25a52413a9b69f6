"""From frames to maps: reduction to coefficients, the store of a scan, filter banks; ``maps`` has one file per map."""
