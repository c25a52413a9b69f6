"""Results files as programs of the NeXus convention read them."""
