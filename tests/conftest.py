"""What holds for every test: neither a loaded machine nor how the tests were started decides whether they pass."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zxingcpp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, settings

# Speed is never asserted, and making examples is no exception.
settings.register_profile("pbs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pbs")

# In the background of a script these may be ignored, and programs that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The modules of a QR code in a character of a sheet: the upper and the lower one, 1 = dark.
HALVES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
SCALE = 4


def photographed(rows: Iterable[Iterable[int]]) -> str:
    """What a decoder that is not ours sees in these modules."""
    modules = [list(row) for row in rows]
    pixels = bytes(
        255 * (1 - dot) for row in modules for _ in range(SCALE) for dot in row for _ in range(SCALE)
    )
    image = memoryview(pixels).cast("B", (len(modules) * SCALE, len(modules[0]) * SCALE))
    (found,) = zxingcpp.read_barcodes(image)
    return str(found.text)


@pytest.fixture(scope="session")
def camera() -> Callable[[str], str]:
    """Reads the QR code on a sheet, as a telephone does: the lines that are made of half blocks alone."""

    def read(sheet: str) -> str:
        lines = [line for line in sheet.splitlines() if set(line) <= HALVES.keys()]
        width = max(map(len, lines))
        return photographed(
            [HALVES[sign][half] for sign in line.ljust(width)] for line in lines for half in (0, 1)
        )

    return read


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Makes a certificate that is its own authority, for a name, with its key: the two files."""

    def make(name: str, days: float = 30) -> tuple[Path, Path]:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        about = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder(about, about, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=100))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        folder = tmp_path_factory.mktemp("tls")
        (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return folder / "certificate.pem", folder / "key.pem"

    return make
