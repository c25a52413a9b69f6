"""How far the pattern wanders over the detector during a scan: slowly, from line to line, or from some line on."""
