"""How near Trivium runs to the machine's limit: `make bench`. Every figure is a ratio to a floor measured beside it."""
