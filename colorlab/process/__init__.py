"""What surrounds a command: the standard streams, signals, and the folder that it writes to."""
