"""Pods as units of the host's systemd."""

__version__ = "0.1.0"
