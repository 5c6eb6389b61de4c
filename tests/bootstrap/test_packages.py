"""Newer packages come only as the archive's own key signed them."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.user

ROOT = Path(__file__).resolve().parents[2]
MIRROR = Path(__file__).with_name("mirror")
PACKAGES = ("restic", "restic-rest-server")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that apt's own unprivileged user can read, with a mirror of our own in it."""
    path = Path(tempfile.mkdtemp(prefix="pbs-mirror-"))
    path.chmod(0o755)
    mirror = path / "mirror"
    suite = mirror / "dists/sid"
    for architecture in ("all", "amd64", "arm64"):
        index = suite / f"main/binary-{architecture}"
        index.mkdir(parents=True)
        shutil.copy(MIRROR / "Packages", index)
    shutil.copy(MIRROR / "InRelease", suite)
    for package in MIRROR.glob("*.deb"):
        shutil.copy(package, mirror)
    shutil.copy(MIRROR / "key.asc", path)
    for each in path.rglob("*"):
        each.chmod(0o755 if each.is_dir() else 0o644)
    yield path
    shutil.rmtree(path)


def get(folder: Path) -> subprocess.CompletedProcess[str]:
    """Fetch and unpack both packages from the mirror, by the functions of bootstrap."""
    script = (
        '. "$1"; shift; tools=$1/tools; mkdir "$tools"; configure_apt "$1/apt" "file:$1/mirror" sid "$1/key.asc"; '
        f'download_packages "$1/apt" {" ".join(PACKAGES)}; take_packages "$1/apt"; "$tools/bin/restic" version'
    )
    command = ["bash", "-c", script, "bash", ROOT / "bootstrap", folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def flip(path: Path, old: bytes, new: bytes) -> None:
    """Change a file as somebody on the way would: same length, other content."""
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def assert_refused(folder: Path, reason: str) -> None:
    ended = get(folder)
    assert ended.returncode != 0
    assert reason in ended.stderr
    assert list((folder / "tools").iterdir()) == []


def test_signed_packages_are_unpacked(folder: Path) -> None:
    """What the trusted key signed is taken, and becomes the tool that pbs runs."""
    ended = get(folder)
    assert ended.stdout.splitlines()[-1] == "restic 99.0 compiled for the tests", ended.stderr
    assert (folder / "tools/bin/rest-server").resolve().name == "restic-rest-server"


def test_an_index_without_a_signature_is_refused(folder: Path) -> None:
    """An archive that nobody signed gives nothing."""
    signed = (folder / "mirror/dists/sid/InRelease").read_text()
    unsigned = signed.split("\n\n", 1)[1].split("-----BEGIN", 1)[0]
    (folder / "mirror/dists/sid/Release").write_text(unsigned)
    (folder / "mirror/dists/sid/InRelease").unlink()
    assert_refused(folder, "is not signed")


def test_an_index_signed_by_a_stranger_is_refused(folder: Path) -> None:
    """A good signature by a key that is not the archive's is no signature."""
    shutil.copy(MIRROR / "InRelease.stranger", folder / "mirror/dists/sid/InRelease")
    assert_refused(folder, "is not signed")


def test_a_changed_release_file_is_refused(folder: Path) -> None:
    """One digit changed under the signature, and the archive gives nothing."""
    flip(folder / "mirror/dists/sid/InRelease", b"Date: Tue, 14 Nov 2023", b"Date: Tue, 14 Nov 2022")
    assert_refused(folder, "is not signed")


def test_a_changed_package_index_is_refused(folder: Path) -> None:
    """A package list that is not the signed one gives nothing."""
    for index in folder.glob("mirror/dists/sid/main/*/Packages"):
        flip(index, b"Version: 99.0-1", b"Version: 99.0-2")
    assert_refused(folder, "Hash Sum mismatch")


def test_a_changed_package_is_refused(folder: Path) -> None:
    """A package that is not the listed one is not unpacked."""
    for package in folder.glob("mirror/*.deb"):
        flip(package, b"debian-binary", b"debian-binarx")
    assert_refused(folder, "Hash Sum mismatch")


def test_what_the_machine_allows_does_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose apt takes unsigned archives still gets none here."""
    loose = folder / "loose.conf"
    loose.write_text('APT::Get::AllowUnauthenticated "true";\nAcquire::AllowInsecureRepositories "true";\n')
    monkeypatch.setenv("APT_CONFIG", str(loose))
    (folder / "mirror/dists/sid/InRelease").unlink()
    assert_refused(folder, "does not have a Release file")


def test_what_only_tests_need_is_taken_after_newer_packages_too(folder: Path) -> None:
    """A new machine lacks both: whoever has installed the newer packages still knows which programs to unpack."""
    script = (
        '. "$1"; tools=$2/tools; work=$2; unpacked_of() { [ "$1" != test ] || echo "nobodys-program a-package usr/bin/it"; }; '
        "install_packages() { :; }; install_newer() { touch $work/had; look install; }; "
        'find_restic() { [ -e "$work/had" ] || return 1; found_path=/bin/true found_version=99; }; '
        "find_rest_server() { found_path=/bin/true found_version=99; }; "
        'take_program() { mkdir -p "$tools/bin"; cp /bin/true "$tools/bin/$1"; }; look test; prepare_tools test'
    )
    command = ["bash", "-c", script, "bash", ROOT / "bootstrap", folder]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (folder / "tools/bin/nobodys-program").exists(), ended.stderr
    assert ended.returncode == 0, ended.stderr
