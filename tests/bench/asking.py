"""Runs in the box, in the network of a pod: asks its metadata service, and prints how long each
answer took, in milliseconds, a line each.

    asking.py URL NUMBER RATE

Requests are due RATE a second, come what may: one that has to wait for those before has taken
longer. Each reads to the end of the answer, on a connection of its own.
"""

import socket
import sys
import time

_PATHS = ("pod/uuid", "pod/annotations", "pod/manifest", "apps/one/image/manifest")
_FORM = b"content=the+quick+brown+fox"


def _requests(token: str) -> list[bytes]:
    base = f"/{token}/acMetadata/v1"
    head = "HTTP/1.1\r\nHost: metadata\r\n"
    found = [f"GET {base}/{path} {head}\r\n".encode() for path in _PATHS]
    form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(_FORM)}\r\n"
    return [*found, f"POST {base}/pod/hmac/sign {head}{form}\r\n".encode() + _FORM]


def main() -> None:
    url, number, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    host, token = url.removeprefix("http://").split("/")
    address, port = host.split(":")
    requests = _requests(token)
    took = []
    begin = time.monotonic()
    for count in range(number):
        due = begin + count / rate
        time.sleep(max(0.0, due - time.monotonic()))
        with socket.create_connection((address, int(port)), 10) as connection:
            connection.sendall(requests[count % len(requests)])
            answer = b""
            while part := connection.recv(65536):
                answer += part
        if not answer.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"unexpected answer: {answer[:80]!r}")
        took.append(time.monotonic() - due)
    sys.stdout.writelines(f"{each * 1000:.2f}\n" for each in took)


if __name__ == "__main__":
    main()
