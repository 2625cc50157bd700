"""A certificate authority of our own and what it issues, made with openssl."""

import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple


class Certificate(NamedTuple):
    """Paths of a PEM certificate and of its PEM key."""

    certificate: str
    key: str


def make_ca(directory: str | os.PathLike[str], *, name: str = "rktsd tests") -> Certificate:
    """A self-signed authority, ``ca.crt`` and ``ca.key`` in ``directory`` (made when absent)."""
    directory = os.fspath(directory)
    os.makedirs(directory, exist_ok=True)
    made = Certificate(f"{directory}/ca.crt", f"{directory}/ca.key")
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "3650", "-subj", f"/CN={name}",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
        "-keyout", made.key, "-out", made.certificate,
    )  # fmt: skip
    return made


def issue(ca: Certificate, hosts: Sequence[str]) -> Certificate:
    """A server certificate for ``hosts`` (names and addresses), beside the authority's files."""
    directory = os.path.dirname(ca.certificate)
    base = f"{directory}/{hosts[0]}"
    made = Certificate(f"{base}.crt", f"{base}.key")
    _openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", f"/CN={hosts[0]}", "-keyout", made.key, "-out", f"{base}.csr",
    )  # fmt: skip
    names = ",".join(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in hosts)
    with open(f"{base}.ext", "w", encoding="ascii") as extensions:
        extensions.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
    _openssl(
        "x509", "-req", "-in", f"{base}.csr", "-CA", ca.certificate, "-CAkey", ca.key,
        "-CAcreateserial", "-days", "3650", "-extfile", f"{base}.ext", "-out", made.certificate,
    )  # fmt: skip
    return made


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
