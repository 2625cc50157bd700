"""What pods cost beside their peers: rows of commands, timed in turn in one box."""
