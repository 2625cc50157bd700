"""What a service tells systemd (sd_notify(3)), without libsystemd."""

import socket


def connected(address: str) -> socket.socket:
    """The socket at ``address``, as ``NOTIFY_SOCKET`` has it. Raises OSError."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    return channel
