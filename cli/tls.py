"""The three files of mutual TLS: our certificate, its key, and the authority that both sides trust."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from chassis.config import ConfigError
from chassis.tls import IdentityFiles, channel_credentials

SUFFIXES = ("TLS_CERTIFICATE_PATH", "TLS_KEY_PATH", "TLS_CA_PATH")


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. With them every connection is TLS, and we show our certificate."""

    certificate_path: Path
    """Ours, followed by those between it and the authority."""
    key_path: Path
    ca_path: Path

    @classmethod
    def named(cls, prefix: str, environ: Mapping[str, str]) -> TlsFiles | None:
        """The files that `<prefix>_TLS_…` names; None where it names none. Raises ConfigError when some are missing."""
        variables = [f"{prefix}_{suffix}" for suffix in SUFFIXES]
        missing = [variable for variable in variables if not environ.get(variable)]
        if len(missing) == len(variables):
            return None
        if missing:
            raise ConfigError(f"{', '.join(missing)}: TLS needs all three files, certificate, key and CA")
        return cls(*(Path(environ[variable]) for variable in variables))

    def credentials(self) -> grpc.ChannelCredentials:
        """For a gRPC channel. Raises ConfigError when a file cannot be read, or is not what it should be."""
        return channel_credentials(IdentityFiles(self.certificate_path, self.key_path, self.ca_path).read())

    def context(self) -> ssl.SSLContext:
        """The same for a plain socket, whose errors say more than gRPC's. Raises OSError."""
        context = ssl.create_default_context(cafile=self.ca_path)
        context.load_cert_chain(self.certificate_path, self.key_path)
        context.set_alpn_protocols(["h2"])
        return context
