"""Talking to the host's systemd: the bus, unit names, property types, the journal."""
