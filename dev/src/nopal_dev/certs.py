# SPDX-License-Identifier: Apache-2.0
"""The certificates of a cluster: one authority, a server, an administrator, a signing key."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 365


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of one cluster, in one folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that all others are signed with."""
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        """The certificate of ``server``, ``admin`` or ``controller-manager``."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The key of the same, or of ``service-accounts``."""
        return self.folder / f"{name}.key"

    def make(self, addresses: Sequence[str]) -> None:
        """Make them all for a server with these addresses; a complete set is kept."""
        done = self.folder / "complete"
        if done.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nopal-dev")])
        ca = _builder(ca_name, ca_name, ca_key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._write("ca", ca_key, ca.sign(ca_key, hashes.SHA256()))
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        subjects = {
            "server": ("kube-apiserver", None),
            "admin": ("admin", "system:masters"),
            "controller-manager": ("system:kube-controller-manager", None),
        }
        for name, (common_name, group) in subjects.items():
            key = ec.generate_private_key(ec.SECP256R1())
            builder = _builder(_subject(common_name, group), ca_name, key.public_key())
            usage = ExtendedKeyUsageOID.CLIENT_AUTH
            if name == "server":
                usage = ExtendedKeyUsageOID.SERVER_AUTH
                builder = builder.add_extension(
                    x509.SubjectAlternativeName(alternatives), critical=False
                )
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            self._write(name, key, builder.sign(ca_key, hashes.SHA256()))
        self._write("service-accounts", ec.generate_private_key(ec.SECP256R1()), None)
        done.touch()

    def _write(
        self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate | None
    ) -> None:
        self.key(name).touch(mode=0o600)
        self.key(name).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        if certificate is not None:
            self.certificate(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _subject(common_name: str, group: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if group is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
    )
