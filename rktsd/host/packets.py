"""What is said on the socket of an attachable app, in packets: a letter, then what it is about.

Both sides import it, and one of them stays in memory as long as the app: nothing else is here.
"""

HELLO = b"h"
"""From a client, first: the endpoints that it wants, separated by commas."""

INPUT = b"i"
"""From a client: bytes for the app."""

SIZE = b"s"
"""From a client: the size of its window, as TIOCSWINSZ has it (tty_ioctl(4))."""

OUTPUT = b"o"
"""To clients: what the app wrote to its standard output, or to its terminal."""

ERRORS = b"e"
"""To clients: what the app wrote to its standard error."""

ENDED = b"x"
"""To clients, last: how the app ended, as it is recorded (pods.endings)."""

SLOW = b"l"
"""To a client, last: it held up the app for too long, and output for it was lost."""

CHUNK = 1 << 15
"""The most bytes that a packet has behind its letter."""
