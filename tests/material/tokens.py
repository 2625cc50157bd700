"""A token server as registries want one: real tokens, for users that it knows.

Speaks both ways of the distribution project (spec/auth/token and spec/auth/oauth) and signs with a
key made by openssl.
"""

import base64
import json
import os
import subprocess
import time
import urllib.parse
from collections.abc import Mapping

from tests.material.servers import Answer, Request

SERVICE, ISSUER = "tests, registry", "tests"
IDENTITY = "identity-of-"


class TokenServer:
    """Hand ``answer`` to a site at ``realm``; ``users`` maps names to passwords.

    ``configuration`` is what the registry has to know. Repositories below ``public/`` are for
    everybody to pull. A token lives for ``lifetime`` seconds. The identity token of a user is
    ``identity-of-USER``.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        realm: str,
        users: Mapping[str, str],
        *,
        lifetime: int = 300,
    ) -> None:
        directory = os.fspath(directory)
        os.makedirs(directory, exist_ok=True)
        self._key = f"{directory}/tokens.key"
        certificate = f"{directory}/tokens.crt"
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=tokens",
            "-keyout", self._key, "-out", certificate,
        )  # fmt: skip
        der = _openssl("x509", "-in", certificate, "-outform", "DER")
        self._chain = [base64.b64encode(der).decode()]
        self._users = users
        self.lifetime = lifetime
        self.issued: list[str] = []
        self.configuration = {
            "realm": realm,
            "service": json.dumps(SERVICE),
            "issuer": ISSUER,
            "certificate": certificate,
        }

    def answer(self, request: Request) -> Answer:
        """A token, or 401."""
        fields = urllib.parse.parse_qs(
            request.body.decode() if request.method == "POST" else request.query
        )
        if fields.get("service") != [SERVICE]:
            return Answer(b"{}", status=400)
        user = self._identity(fields) if request.method == "POST" else self._basic(request)
        if user is None:
            error = {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}
            return Answer(json.dumps(error).encode(), status=401)
        token = self.issue(user, " ".join(fields.get("scope", [])).split())
        self.issued.append(user)
        key = "access_token" if request.method == "POST" else "token"
        return Answer(json.dumps({key: token}).encode())

    def issue(self, user: str, scopes: list[str]) -> str:
        """A token for ``user`` ("" for anybody), who gets what he asks for if he may have it."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = actions.split(",") if user else ["pull"] if name.startswith("public/") else []
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.lifetime,
            "jti": os.urandom(8).hex(),
            "access": access,
        }
        head = {"typ": "JWT", "alg": "RS256", "x5c": self._chain}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        signature = _openssl("dgst", "-sha256", "-sign", self._key, data=signed.encode())
        return f"{signed}.{_encoded(signature)}"

    def _basic(self, request: Request) -> str | None:
        header = request.headers.get("authorization")
        if header is None:
            return ""
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return user if self._users.get(user) == password else None

    def _identity(self, fields: Mapping[str, list[str]]) -> str | None:
        token = fields.get("refresh_token", [""])[0]
        user = token.removeprefix(IDENTITY)
        return user if token.startswith(IDENTITY) and user in self._users else None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments: str, data: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode()}")
    return done.stdout
