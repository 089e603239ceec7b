"""The cluster's certificate authority: made anew at every start, valid for a day."""

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def name_of(common_name: str, organisation: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Authority:
    """Issues certificates into a folder: `NAME.crt` and `NAME.key`, and `ca.crt` once."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name_of("driftd-test-rig")
        certificate = self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None), [])
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, common_name: str, organisation: str | None = None, hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """Kubernetes takes the common name of a client for the user, and its organisation for the group."""
        key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        certificate = self._sign(name_of(common_name, organisation), key, constraints, hosts)
        paths = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(private_pem(key))
        return paths

    def signing_key(self, file: str) -> Path:
        """A key without a certificate, as service account tokens are signed with."""
        path = self.folder / f"{file}.key"
        path.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
        return path

    def _sign(self, subject: x509.Name, key, constraints, hosts) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(constraints, critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([host_name(host) for host in hosts]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def private_pem(key) -> bytes:
    # Kubernetes reads EC keys in this older form everywhere, the newer one not for service accounts.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
