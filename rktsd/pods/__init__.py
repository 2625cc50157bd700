"""Pods: what an administrator wrote, what is on disk of them, and what can be done with them."""
