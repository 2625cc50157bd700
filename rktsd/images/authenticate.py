"""Access to a repository: by token or by password, as the registry's challenge wants it.

Tokens are fetched as the CNCF distribution project writes it (spec/auth/token, spec/auth/oauth).
"""

import threading
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import suppress

from rktsd.appc.cursor import decode_json
from rktsd.errors import BadInput, FetchError
from rktsd.images.challenges import Challenge, parse_challenges
from rktsd.images.credentials import Credentials
from rktsd.images.http import Answer, Client

TOKEN_LIMIT = 1 << 20
ERROR_LIMIT = 64 << 10
_CLIENT_ID = "rkt"


class Access:
    """What is known of one repository's access; threads may share it.

    ``scope`` is what is asked for when the challenge does not say it, like
    ``repository:NAME:pull``; ``find`` looks for credentials, and is called when they are needed.
    """

    def __init__(
        self, registry: str, scope: str, *, find: Callable[[], Credentials | None]
    ) -> None:
        self._registry = registry
        self._scope = scope
        self._find = find
        self._lock = threading.Lock()
        self._authorization: str | None = None
        self.credentials: Credentials | None = None

    @property
    def authorization(self) -> str | None:
        """The header to send, None as long as nothing was asked for."""
        return self._authorization

    def answer(self, client: Client, refused: Answer, *, sent: str | None) -> str:
        """The header for the next attempt after ``refused``, which was a 401 to ``sent``.

        Raises FetchError when there is nothing to try (any more).
        """
        with self._lock:
            if self._authorization != sent and self._authorization is not None:
                return self._authorization
            self._authorization = self._next(client, refused, sent)
            return self._authorization

    def refusal(self, answer: Answer) -> FetchError:
        """The error for a registry that refuses for good, with its reason where it gives one."""
        what = f"{self._registry}: refuses access"
        if self._scope:
            what += f" to {self._scope.split(':')[1]}"
        reason = reason_of(answer)
        what = f"{what}: {reason}" if reason else what
        known = self.credentials
        if known:
            who = f"user {known.user}" if known.user else "token"
            return FetchError(f"{what} (to the {who} of {known.source})")
        return FetchError(
            what, hint=f"it may not exist, or want credentials: rkt login {self._registry}"
        )

    def _next(self, client: Client, refused: Answer, sent: str | None) -> str:
        if urllib.parse.urlsplit(refused.url).netloc != self._registry:
            # Nobody but the registry itself may say where credentials go.
            raise FetchError(f"{refused.url}: the server answered 401")
        header = refused.headers.get("WWW-Authenticate", "")
        challenges = {each.scheme: each for each in reversed(parse_challenges(header))}
        bearer = challenges.get("bearer")
        usable = bearer is not None and bool(bearer.parameters.get("realm"))
        if not usable and "basic" not in challenges:
            raise self.refusal(refused)
        if self.credentials is None:
            self.credentials = self._find()
        known = self.credentials
        if bearer is not None and usable:
            if known and known.bearer:
                header = f"Bearer {known.bearer}"
            else:
                # A token may have run out, so it may be asked for again; ``get`` ends it.
                return f"Bearer {self._token(client, bearer)}"
        elif known and known.user:
            header = known.basic
        else:
            raise self.refusal(refused)
        if header == sent:
            raise self.refusal(refused)
        return header

    def _token(self, client: Client, challenge: Challenge) -> str:
        realm = challenge.parameters["realm"]
        known = self.credentials
        if known and not realm.startswith("https://"):
            raise FetchError(f"{self._registry}: would have credentials go to {realm}, over http")
        query: list[tuple[str, str]] = []
        service = challenge.parameters.get("service")
        if service:
            query.append(("service", service))
        scope = challenge.parameters.get("scope") or self._scope
        if known and known.identity_token:
            return self._refreshed(client, realm, dict(query), scope)
        query += [("scope", each) for each in scope.split()]
        if known and known.user:
            query.append(("account", known.user))
        separator = "&" if "?" in realm else "?"
        url = f"{realm}{separator}{urllib.parse.urlencode(query)}" if query else realm
        header = known.basic if known and known.user else None
        with client.get(url, authorization=header, accept=frozenset({200, 401, 403})) as answer:
            if answer.status != 200:
                raise self.refusal(answer)
            return _token_in(answer, realm)

    def _refreshed(self, client: Client, realm: str, fields: Mapping[str, str], scope: str) -> str:
        """A token for an identity token (spec/auth/oauth)."""
        known = self.credentials
        token = known.identity_token if known else None
        form = {
            **fields,
            "scope": scope,
            "grant_type": "refresh_token",
            "client_id": _CLIENT_ID,
            "refresh_token": token or "",
        }
        accept = frozenset({200, 400, 401, 403})
        with client.get(realm, form=form, accept=accept) as answer:
            if answer.status != 200:
                raise self.refusal(answer)
            return _token_in(answer, realm)


def reason_of(answer: Answer) -> str:
    """The first error in a registry's answer (distribution specification, "Error Codes")."""
    with suppress(BadInput, FetchError):
        document = decode_json(answer.read(ERROR_LIMIT), answer.url)
        if not isinstance(document.value, dict):
            return ""
        errors = document.get("errors").elements() if document.get("errors").given else []
        place = errors[0] if errors else document
        words = [place.get(key).value for key in ("code", "message", "details")]
        said = ": ".join(word for word in words if isinstance(word, str) and word)
        return "".join(c if c.isprintable() else "?" for c in said)[:200]
    return ""


def _token_in(answer: Answer, realm: str) -> str:
    document = decode_json(answer.read(TOKEN_LIMIT), realm)
    token = document.get("token")
    token = token if token.given and token.value else document.get("access_token")
    if token.given and not (isinstance(token.value, str) and token.value.isascii()):
        raise token.problem("not a token")
    return token.line()
