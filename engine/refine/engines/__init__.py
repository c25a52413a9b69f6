"""Published engines by name (``optimizer = "epie"``, ``"lsq_ml"``, ``"adam"``), for runs to be compared with them."""
