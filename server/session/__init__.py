"""Scans as the server holds them: live maps, finishing, library, what viewers show."""
