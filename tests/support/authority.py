"""A private certificate authority for tests: certificates made by openssl, for servers and for clients."""

import shutil
import ssl
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl") or "/usr/bin/openssl"


class Authority:
    """Signs what is asked for; everything lies in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-keyout", self._key, "-out", self.certificate, "-subj", f"/CN={name}"),
        )

    def sign(self, name: str, alternative: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """Return certificate and key; `alternative` is what a client must have asked for."""
        request, key, certificate = (self._folder / f"{name}.{ending}" for ending in ("csr", "key", "pem"))
        extension = self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternative}\n", encoding="utf-8")
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", request, "-subj", f"/CN={name}"),
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", "2", "-extfile", extension, "-out", certificate),
        )
        return certificate, key

    def server(self, name: str = "server", alternative: str = "IP:127.0.0.1", *, asks: bool = False) -> ssl.SSLContext:
        """Return the server's side; `asks`: only clients that this authority has signed are let in."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign(name, alternative))
        if asks:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True)
