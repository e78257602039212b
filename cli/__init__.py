"""The `trivium` command: starts the processes on one machine, feeds them documents, asks them questions."""
