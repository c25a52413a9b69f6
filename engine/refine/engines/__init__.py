"""Published engines by name (``optimizer = "epie"``, ``"lsq_ml"``, ``"adam"``), for comparing runs with them."""
