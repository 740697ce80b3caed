"""The SMTP server's certificate: self-signed, so that it is its own authority, which a client can be told to trust."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from os import open as os_open
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=397)
_LEFT = timedelta(days=1)


def context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context and the certificate that clients are to trust; it is made when there is none."""
    certificate, key = folder / "smtp-certificate.pem", folder / "smtp-key.pem"
    folder.mkdir(parents=True, exist_ok=True)
    if not (key.exists() and _good(certificate)):
        _make(certificate, key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls, certificate


def _good(path: Path) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return found.not_valid_after_utc > datetime.now(UTC) + _LEFT


def _make(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sandbox SMTP")])
    addresses = [x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    encoding, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    with open(key, "wb", opener=lambda path, flags: os_open(path, flags, 0o600)) as file:
        file.write(private.private_bytes(encoding, pkcs8, serialization.NoEncryption()))
    certificate.write_bytes(made.public_bytes(encoding))
