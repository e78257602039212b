"""Mutual TLS from three PEM files, which may be replaced while the process runs (as cert-manager does)."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from chassis.config import ConfigError, ServerConfig

logger = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Identity:
    """PEM texts: who we are, and whose word about others we take."""

    certificate: bytes
    """Ours, followed by those between it and the authority."""
    key: bytes
    ca: bytes
    """Authorities that peers' certificates must come from."""


class IdentityFiles:
    """The three files, and whether they have changed since they were last read."""

    def __init__(self, certificate_path: Path, key_path: Path, ca_path: Path) -> None:
        self._certificate_path, self._key_path, self._ca_path = certificate_path, key_path, ca_path
        self._seen: Stamp = ()

    @classmethod
    def of(cls, config: ServerConfig) -> IdentityFiles | None:
        """Those that a configuration names; None without TLS."""
        if not (config.tls_certificate_path and config.tls_key_path and config.tls_ca_path):
            return None
        return cls(config.tls_certificate_path, config.tls_key_path, config.tls_ca_path)

    def read(self) -> Identity:
        """What they hold. Raises ConfigError unless they are a certificate with its key, and an authority."""
        self._seen = self._stamp()
        _check(self._certificate_path, self._key_path, self._ca_path)
        try:
            identity = Identity(*(path.read_bytes() for path in self._paths))
        except OSError as error:
            raise ConfigError(f"TLS: {error}") from None
        if self._stamp() != self._seen:
            raise ConfigError("TLS: the files changed while they were read")
        return identity

    def read_if_changed(self) -> Identity | None:
        """What they hold since they changed; None when they did not, or are not fit: then the old ones stay."""
        if self._stamp() == self._seen:
            return None
        try:
            identity = self.read()
        except ConfigError as error:
            logger.warning("new certificate refused, the old one stays", extra={"reason": str(error)})
            return None
        logger.info("new certificate", extra={"path": str(self._certificate_path)})
        return identity

    @property
    def _paths(self) -> tuple[Path, Path, Path]:
        return self._certificate_path, self._key_path, self._ca_path

    def _stamp(self) -> Stamp:
        """Differs once a file was written or, as in a mounted Secret, its link leads elsewhere."""
        return tuple(_stat(path) for path in self._paths)


def server_credentials(files: IdentityFiles) -> grpc.ServerCredentials:
    """For a server that shows its certificate and wants the client's. Files are looked at before each handshake.

    Raises ConfigError when the files are not fit now; later changes to unfit ones are logged and not taken.
    """

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        changed = files.read_if_changed()
        return None if changed is None else _server_configuration(changed)

    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(files.read()),
        fetch,  # type: ignore[arg-type] # None is "no change", which the stubs do not know
        require_client_authentication=True,
    )


def channel_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """For a client that shows its certificate. They keep what they were made with: a new identity, new channels."""
    return grpc.ssl_channel_credentials(identity.ca, identity.key, identity.certificate)


def _server_configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], identity.ca)


def _check(certificate_path: Path, key_path: Path, ca_path: Path) -> None:
    """gRPC itself would start with files that do not belong together, and fail each handshake without a reason."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate_path, key_path, password="")  # else OpenSSL asks on the terminal
    except OSError as error:
        raise ConfigError(f"tls_certificate_path {certificate_path}, tls_key_path {key_path}: {error}") from None
    try:
        context.load_verify_locations(ca_path)
    except OSError as error:
        raise ConfigError(f"tls_ca_path {ca_path}: {error}") from None


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
