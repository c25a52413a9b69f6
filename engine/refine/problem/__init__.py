"""From data and preset to what a solver minimises: measurement, forward options, parameter blocks, strategy."""
