"""Connections that believe the right certificates and that no server can hold for ever.

requests' time-outs are for one wait for bytes, so that a server which sends a byte now and then
keeps a client as long as it likes. Here handshakes and answers have a time of their own.
"""

import os
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from rktsd.errors import BadInput
from rktsd.images.reasons import TooLate, reason

SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"


def system_authorities() -> str | None:
    """The file with the authorities that this system trusts, where it is as in Debian."""
    return SYSTEM_CAS if os.path.exists(SYSTEM_CAS) else None


class Session(requests.Session):
    """Redirects are ours: requests reads their bodies to the end even when told to leave them."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is requests' to follow."""


class Adapter(requests.adapters.HTTPAdapter):
    """Connections whose handshake and whose answer each take at most ``patience`` seconds.

    The certificates in ``files`` are trusted beside the system's. Raises BadInput for a file that
    holds none.
    """

    def __init__(self, patience: float, files: Sequence[str] = ()) -> None:
        self._pools = _pools(patience)
        self._more: dict[str, Any] = {}
        if files:
            context = ssl.create_default_context(cafile=system_authorities())
            for path in files:
                try:
                    context.load_verify_locations(path)
                except (OSError, ssl.SSLError) as error:
                    raise BadInput(f"{path}: not a PEM certificate: {reason(error)}") from error
            self._more["ssl_context"] = context
        super().__init__()

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        if not self._more:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]  # stubs
            return
        # The context has the system's authorities: they need not be read once more.
        conn.cert_reqs = "CERT_REQUIRED"

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **keywords: Any
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **keywords, **self._more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keywords, **self._more)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _Guard:
    """Shuts a connection down when it is not stopped in time."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.expired = False
        # A descriptor of its own: TLS takes the socket object over.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        self.expired = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def stop(self) -> None:
        """Raises TooLate when it was: what seemed to end well is cut off all the same.

        http.client takes the end of a connection for the end of headers.
        """
        self._timer.cancel()
        self._socket.close()
        if self.expired:
            raise TooLate


def _pools(patience: float) -> dict[str, Any]:
    """Pools of connections, by scheme; urllib3 takes classes, so the time is in their closure."""

    class Limited:
        _guard: _Guard | None = None

        def _new_conn(self) -> Any:
            connection = super()._new_conn()  # type: ignore[misc]  # of urllib3's classes below
            self._guard = _Guard(connection, patience)
            return connection

        def connect(self) -> None:
            try:
                super().connect()  # type: ignore[misc]
            finally:
                guard, self._guard = self._guard, None
                if guard:
                    guard.stop()

        def getresponse(self, *args: Any, **keywords: Any) -> Any:
            guard = _Guard(self.sock, patience)  # type: ignore[attr-defined]
            try:
                return super().getresponse(*args, **keywords)  # type: ignore[misc]
            finally:
                guard.stop()

    class Plain(Limited, HTTPConnection):
        pass

    class Secure(Limited, HTTPSConnection):
        pass

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
