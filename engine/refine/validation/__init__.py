"""How far a refined object can be trusted: half-data correlation, null test, bound on the positions."""
