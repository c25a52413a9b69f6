"""How far a refined object can be trusted: half-data correlation, null test, bound of the positions."""
