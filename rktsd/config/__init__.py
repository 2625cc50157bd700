"""What an administrator configures, beside pods, networks and keys (rktsd.toml(5), rkt's kinds)."""
