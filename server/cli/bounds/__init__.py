"""``ptylive bench --bounds``: the limits of the machine, and the share of them that is reached."""
