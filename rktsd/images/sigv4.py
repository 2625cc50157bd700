"""Requests to S3 signed with an access key (AWS Signature Version 4). Pure."""

import hashlib
import hmac
import re
import time
import urllib.parse
from collections.abc import Mapping

from rktsd.config.auth import Aws

_ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY = hashlib.sha256(b"").hexdigest()
_REGION = re.compile(
    r"(?:.+\.)?s3[.-](?:dualstack\.|fips\.)?(?P<region>[a-z]+(?:-[a-z]+)+-\d+)\.amazonaws\.com"
)
DEFAULT_REGION = "us-east-1"


def region_of(host: str) -> str:
    """The region in the name of an S3 host; hosts without one are those of us-east-1."""
    found = _REGION.match(host.lower())
    return found["region"] if found else DEFAULT_REGION


def sign(url: str, credentials: Aws, *, method: str = "GET", now: float) -> dict[str, str]:
    """The headers that make a request without a body one of ``credentials``.

    ``now`` is in seconds since the epoch. S3 takes the path as it was sent, encoded once.
    """
    parts = urllib.parse.urlsplit(url)
    # What is sent as Host: without the port where it is the default one.
    host = parts.netloc.lower().removesuffix(":443")
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": moment}
    region = credentials.region or region_of(parts.hostname or "")
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(_canonical(parts, headers, method).encode()).hexdigest()
    key = f"AWS4{credentials.secret_access_key}".encode()
    for step in scope.split("/"):
        key = _hmac(key, step)
    signature = _hmac(key, f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}").hex()
    authorization = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(headers)}, Signature={signature}"
    )
    return {
        "Authorization": authorization,
        "X-Amz-Content-Sha256": _EMPTY,
        "X-Amz-Date": moment,
    }


def _canonical(parts: urllib.parse.SplitResult, headers: Mapping[str, str], method: str) -> str:
    path = urllib.parse.quote(urllib.parse.unquote(parts.path or "/"), safe="/~")
    pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(
        sorted(
            f"{urllib.parse.quote(k, safe='~')}={urllib.parse.quote(v, safe='~')}" for k, v in pairs
        )
    )
    lines = [method, path, query, *(f"{name}:{value}" for name, value in headers.items())]
    return "\n".join([*lines, "", ";".join(headers), _EMPTY])


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
