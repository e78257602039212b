"""Certificates: readable, ours to use, issued by the CA, in date, and for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from chassis.config import ConfigError
from cli.checks.check import Finding, NotChecked, Status, Trouble
from cli.system import MODULE_BY_PROCESS
from cli.tls import SUFFIXES, TlsFiles

PREFIXES = ("TRIVIUM", *(name.upper() for name in MODULE_BY_PROCESS))
RENEW_WITHIN = timedelta(days=14)
RENEW = "Renew it: `kubectl get certificates` where cert-manager does, and see that the Secret is mounted anew."


def prefixes_with_tls(environ: Mapping[str, str]) -> list[str]:
    """The prefixes under which any TLS file is named."""
    return [prefix for prefix in PREFIXES if any(environ.get(f"{prefix}_{suffix}") for suffix in SUFFIXES)]


def examine_certificates(prefix: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The three files that `<prefix>_TLS_…` names."""
    try:
        files = TlsFiles.named(prefix, environ)
    except ConfigError as error:
        raise Trouble(str(error), "Name all three, or none for plain connections.") from None
    if files is None:
        raise NotChecked("no TLS files are named: connections are plain")
    now = datetime.now(UTC)
    chain, authorities = read_chain(files.certificate_path), read_chain(files.ca_path)
    _require_key(files, chain[0])
    _require_chain(files, chain, authorities)
    yield from _dates(files.certificate_path, chain, now)
    yield from _dates(files.ca_path, authorities, now)
    yield from _usages(prefix, files.certificate_path, chain[0])
    names = ", ".join(names_of(chain[0])) or "nobody: it has no subject alternative name"
    left = (_ends(chain) - now).days
    yield Finding(Status.OK, f"for {names}; issued by {_subject(authorities[0])}; {left} days left")


def read_chain(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, ours first. Raises Trouble."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}", "Mount the Secret there, readable for this user.") from None
    except ValueError:
        raise Trouble(f"{path} holds no certificate in PEM", "Write the certificate as PEM.") from None


def names_of(certificate: x509.Certificate) -> list[str]:
    """DNS names and IP addresses that it is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _require_key(files: TlsFiles, certificate: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(files.key_path.read_bytes(), password=None)
    except OSError as error:
        raise Trouble(
            f"{files.key_path}: {error.strerror}", "Mount the Secret there, readable for this user."
        ) from None
    except (ValueError, TypeError):
        raise Trouble(f"{files.key_path} holds no private key that can be read", "PEM without a password.") from None
    ours, theirs = (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for public in (key.public_key(), certificate.public_key())
    )
    if ours != theirs:
        raise Trouble(
            f"{files.key_path} is not the key of {files.certificate_path}",
            "Both must come from one Secret; one of them was renewed without the other.",
        )


def _require_chain(files: TlsFiles, chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> None:
    """Each certificate is issued by the next one of the file, up to one that the CA file issued or holds."""
    for certificate, above in zip(chain, [*chain[1:], None], strict=True):
        if certificate in authorities or any(_issued(certificate, authority) for authority in authorities):
            return
        if above is None or not _issued(certificate, above):
            break
    raise Trouble(
        f"{files.certificate_path} was not issued by a CA of {files.ca_path} ({_subject(authorities[0])}), "
        f"but by {chain[-1].issuer.rfc4514_string()}",
        "Peers refuse it: give every process the CA that issued the certificates, and the certificates between.",
    )


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _dates(path: Path, certificates: list[x509.Certificate], now: datetime) -> Iterator[Finding]:
    begins = max(certificate.not_valid_before_utc for certificate in certificates)
    ends = _ends(certificates)
    if begins > now:
        raise Trouble(f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC", "Is the clock of this machine right?")
    if ends <= now:
        raise Trouble(f"{path} expired on {ends:%Y-%m-%d %H:%M} UTC", RENEW)
    if ends - now < RENEW_WITHIN:
        yield Finding(Status.WARNING, f"{path} expires on {ends:%Y-%m-%d}, in {(ends - now).days} days", RENEW)


def _ends(certificates: list[x509.Certificate]) -> datetime:
    return min(certificate.not_valid_after_utc for certificate in certificates)


def _usages(prefix: str, path: Path, certificate: x509.Certificate) -> Iterator[Finding]:
    """A process is server to its callers; `trivium` and the gateway are clients. No usage named allows all."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    wanted = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH} if prefix != "TRIVIUM" else {}
    if prefix in ("TRIVIUM", "GATEWAY"):
        wanted["client auth"] = ExtendedKeyUsageOID.CLIENT_AUTH
    missing = [name for name, usage in wanted.items() if usage not in usages]
    if missing:
        advice = "Peers will refuse it: ask for these usages when it is issued."
        yield Finding(Status.WARNING, f"{path} is not for {' and '.join(missing)}", advice)


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a CA without a name"
