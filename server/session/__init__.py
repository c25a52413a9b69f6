"""A scan as the server keeps it: live maps, finishing, library, what viewers show."""
