"""TLS as every link of the agent uses it: the other side must prove who it is, and a wrong file is named."""

import ssl
from pathlib import Path


class TlsFileError(OSError):
    """A certificate or key file of the site file cannot be used; the message says which, and what it must hold."""


def client_context(
    ca_file: Path | None, *, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Trust `ca_file`, or without one the machine's authorities; show a certificate when there is one.

    Raises TlsFileError.
    """
    context = ssl.create_default_context() if ca_file is None else _trusting(ca_file)
    if certificate_file is not None:
        try:
            # A key that asks for a password would stop the agent before a terminal that nobody watches.
            context.load_cert_chain(certificate_file, key_file, password="")
        except OSError as error:
            what = "must be a certificate and its private key in PEM form, the key without a password"
            raise TlsFileError(f"{certificate_file}, {key_file}: {_reason(error)}: {what}") from error
    return context


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise TlsFileError(
            f"{ca_file}: {_reason(error)}: ca_file must hold an authority's certificate (PEM)"
        ) from error


def _reason(error: OSError) -> str:
    """Say what a person can act on; a bare number of OpenSSL helps nobody."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    return error.strerror or str(error)
