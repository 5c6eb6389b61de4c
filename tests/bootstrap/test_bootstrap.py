"""What ./bootstrap promises on a machine that lacks things, and on one that lacks nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.user

ROOT = Path(__file__).resolve().parents[2]
ORDINARY_COMMANDS = [
    "awk",
    "bash",
    "cat",
    "chmod",
    "cut",
    "dirname",
    "env",
    "find",
    "flock",
    "grep",
    "id",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sort",
    "stat",
    "tail",
    "timeout",
    "uname",
    "xargs",
]
SOURCES = [
    "bootstrap",
    "pyproject.toml",
    "requirements.lock",
    "requirements-dev.lock",
    "pbs",
    "agent",
    "templates",
]


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A PATH with what every Linux has, and nothing of what pbs needs."""
    folder = tmp_path / "commands"
    folder.mkdir()
    for name in ORDINARY_COMMANDS:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The sources of this checkout in a new folder, whose name has a space."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def bootstrap(checkout: Path, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [path / "bash", checkout / "bootstrap", *arguments]
    return subprocess.run(
        command, env={"PATH": str(path)}, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


def call(checkout: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a line of shell with the functions of bootstrap at hand; $1… are the arguments."""
    text = f'. "$1"; shift; {script}'
    command = ["bash", "-c", text, "bash", checkout / "bootstrap", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in folder.rglob("*")
    }


def make_ready(checkout: Path, commands: Path) -> Path:
    """Stand-ins for everything that bootstrap installs, with the stamps that say so; gives Python's log of calls."""
    calls = checkout / ".venv/calls"
    write_program(checkout / ".venv/bin/python", f'echo "$@" >>"{calls}"; echo 3.11.2')
    write_program(checkout / ".venv/bin/pbs", "echo pbs")
    write_program(checkout / ".tools/bin/restic", 'echo "restic 0.19.1 compiled"')
    write_program(checkout / ".tools/bin/rest-server", 'echo "rest-server 0.14.0 compiled"')
    for name in ("fusermount3", "rdiff-backup"):
        write_program(commands / name, "exit 0")
    script = (
        'mkdir "$stamps"; write_file "$venv/pbs-tools" "$tools/bin"; write_file "$stamps/source" "$(source_identity)";'
        'write_file "$stamps/venv" "$(venv_identity)"; write_file "$stamps/run" "$(venv_identity)"'
    )
    assert call(checkout, script).returncode == 0
    return calls


def test_a_verb_that_does_not_exist_is_a_fault_of_usage(checkout: Path, commands: Path) -> None:
    """An unknown verb ends with 2 and names the way to the verbs."""
    ended = bootstrap(checkout, "instal", path=commands)
    assert (ended.returncode, "--help" in ended.stderr) == (2, True)


def test_help_names_every_verb(checkout: Path, commands: Path) -> None:
    """Help goes to standard output and ends well; a call without a verb shows it as a fault of usage."""
    asked, bare = bootstrap(checkout, "--help", path=commands), bootstrap(checkout, path=commands)
    assert (asked.returncode, bare.returncode) == (0, 2)
    assert all(f"\n  {verb} " in asked.stdout for verb in ("install", "demo", "test"))
    assert asked.stdout == bare.stderr


def test_without_a_package_manager_it_says_all_that_is_needed(checkout: Path, commands: Path) -> None:
    """Where there is no apt, it names every missing thing at once with its minimum, and touches nothing."""
    before = contents(checkout)
    ended = bootstrap(checkout, "install", path=commands)
    assert (2, before) == (ended.returncode, contents(checkout))
    for words in ("Python 3.11 or newer", "restic 0.19 or newer", "rest-server 0.13 or newer", "(fuse3)"):
        assert words in ended.stderr


def test_running_it_again_changes_nothing(checkout: Path, commands: Path) -> None:
    """With everything in place no file is written, not even in another current folder."""
    make_ready(checkout, commands)
    before = contents(checkout / ".tools")
    stamps = contents(checkout / ".venv/.bootstrap")
    ended = bootstrap(checkout, "install", path=commands)
    assert (0, f"{checkout}/.venv/bin/pbs\n") == (ended.returncode, ended.stdout), ended.stderr
    assert (before, stamps) == (contents(checkout / ".tools"), contents(checkout / ".venv/.bootstrap"))
    assert not (checkout / ".cache").exists()


@pytest.mark.parametrize("changed", ["pbs/__init__.py", "pyproject.toml"])
def test_a_changed_source_is_installed_again(checkout: Path, commands: Path, changed: str) -> None:
    """After a change of a source file the project is built and installed, and nothing else is."""
    calls = make_ready(checkout, commands)
    with (checkout / changed).open("a") as file:
        file.write("\n# changed\n")
    bootstrap(checkout, "install", path=commands)
    asked = calls.read_text()
    assert ("hatchling build" in asked, "requirements" in asked) == (True, False)


def test_a_checkout_that_was_moved_gets_a_new_environment(checkout: Path, commands: Path) -> None:
    """An environment knows its folder by heart: it is right only where it was made."""
    make_ready(checkout, commands)
    moved = checkout.rename(checkout.with_name("elsewhere"))
    script = "python_version=3; venv_id=$(venv_identity); source_id=$(source_identity); venv_is_right install"
    assert call(moved, script).returncode != 0


def test_a_step_that_fails_leaves_no_stamp(checkout: Path, commands: Path) -> None:
    """What was cut short is done again: the stamp goes before the step and comes after it."""
    make_ready(checkout, commands)
    (checkout / "pbs/__init__.py").write_text('"""Changed."""\n')
    write_program(checkout / ".venv/bin/python", "case $* in *hatchling*) exit 7 ;; esac; echo 3.11.2")
    ended = bootstrap(checkout, "install", path=commands)
    assert ended.returncode == 1
    assert "run it again" in ended.stderr
    assert not (checkout / ".venv/.bootstrap/source").exists()


@pytest.mark.parametrize(
    ("found", "wanted", "enough"),
    [
        ("0.19.1", "0.19", True),
        ("0.19", "0.19", True),
        ("0.9.6", "0.19", False),
        ("1.0", "0.19", True),
        ("0.18.99", "0.19", False),
        ("0.08", "0.8", True),
        ("3.9.2", "3.11", False),
        ("", "0.19", False),
        ("unknown", "0.19", False),
    ],
)
def test_versions_are_compared_by_number(found: str, wanted: str, *, enough: bool) -> None:
    """0.9 is older than 0.19, and what is no version is never new enough."""
    assert enough == (call(ROOT, 'version_at_least "$1" "$2"', found, wanted).returncode == 0)


def test_a_tool_that_is_old_or_broken_is_passed_over(tmp_path: Path) -> None:
    """The first restic that runs and is new enough is taken, however many others stand before it."""
    for name, text in (
        ("old", 'echo "restic 0.14.0"'),
        ("broken", "exit 127"),
        ("new", 'echo "restic 0.19.1 built"'),
    ):
        write_program(tmp_path / name / "restic", text)
    path = f"{tmp_path}/old:{tmp_path}/broken:{tmp_path}/new"
    ended = call(
        ROOT, 'PATH=$1:$PATH; find_tool version 0.19 restic; echo "$found_path $found_version"', path
    )
    assert f"{tmp_path}/new/restic 0.19.1\n" == ended.stdout
