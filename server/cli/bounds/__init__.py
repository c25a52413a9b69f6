"""``ptylive bench --bounds``: what the machine can do at most, and which share of it is reached."""
