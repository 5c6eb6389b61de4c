"""A configuration is taken whole or refused with every fault; what is taken means what the reference says."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pbs.config import load
from pbs.config.fields import EXAMPLE_HOST_KEY
from pbs.errors import ConfigError, NotFound
from pbs.home import Home
from pbs.model import Address, Keeping, Limits, ServerSettings, Source, Tripwires

CONFIGS = Path(__file__).parent.parent / "data/configs"
WEB1 = f'host = "web1.example.org"\nuser = "backup"\nhost_key = "{EXAMPLE_HOST_KEY}"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an empty configuration; its path is short enough for sockets."""
    home = Home.at(tmp_path / "h", "/tmp/r")
    home.sources_d.mkdir(parents=True)
    home.config.write_text('[server]\nrun_dir = "/tmp/r"\n')
    return home


def faults(home: Home) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(home)
    return list(caught.value.faults)


@pytest.mark.parametrize("path", sorted((CONFIGS / "valid").iterdir()), ids=lambda path: path.stem)
def test_valid_samples_are_taken(home: Home, path: Path) -> None:
    """Each of tests/data/configs/valid loads."""
    home.config.write_bytes(path.read_bytes())
    assert set(load(home).sources) == set(tomllib.loads(path.read_text()).get("source", {}))


@pytest.mark.parametrize("path", sorted((CONFIGS / "invalid").iterdir()), ids=lambda path: path.stem)
def test_invalid_samples_are_refused_with_every_fault(home: Home, path: Path) -> None:
    """Each of tests/data/configs/invalid gives exactly the faults that its comments name."""
    home.config.write_bytes(path.read_bytes())
    marked = [
        line.removeprefix("# fault: ")
        for line in path.read_text().splitlines()
        if line.startswith("# fault: ")
    ]
    assert sorted(marked) == sorted(faults(home))


def test_built_in_values(home: Home) -> None:
    """What is not written has the values that the reference shows."""
    home.config.write_bytes((CONFIGS / "valid/smallest.toml").read_bytes())
    config = load(home)
    key = str(home.root / "etc/keys/ssh_ed25519")
    address = Address("web1.example.org", 22, "backup", EXAMPLE_HOST_KEY, key)
    assert config.server == ServerSettings()
    policy = config.policies["web1"]
    keep: dict[str, int | str] = {
        "last": 3,
        "daily": 14,
        "weekly": 8,
        "monthly": 12,
        "yearly": 3,
        "within": "2d",
    }
    web = config.sources["web1"]
    assert web == Source("web1", address, keeping=Keeping(keep=keep))
    assert (web.timezone, web.retries, web.window, web.jitter) == ("UTC", 2, None, None)
    assert (policy.keep, policy.clones) == (keep, ())


def test_every_value_arrives(home: Home) -> None:
    """What is written reaches the rooms as values, in their units."""
    home.config.write_bytes((CONFIGS / "valid/everything.toml").read_bytes())
    config = load(home)
    assert config.server == ServerSettings(
        ("::1", 8080),
        "https://backup.example.org/pbs",
        3,
        8,
        "/run/pbs",
        ("feeds", "health"),
        max_runs_per_host=5,
        reserve=(20_000_000_000, 0),
    )
    web1 = config.sources["web1"]
    key = str(home.root / "etc/keys/web1_ed25519")
    assert web1 == Source(
        "web1",
        Address("2001:db8::7", 2222, "pbs", EXAMPLE_HOST_KEY, key),
        "none", "on-demand", 250_000_000, Limits(20_000_000, 524_288), "off", "every 6h", 172800.0,
        "UTC", (22 * 60 + 30, 6 * 60), 300.0, 5, read_budget=20_000_000_000, write_budget=30_000_000_000,
        reserve=(20_000_000_000, 0), tripwires=Tripwires(30, None, 80, 90, 10, 1_000_000_000, ("/srv/canary",)), max_entries=50_000_000,
        keeping=Keeping({"last": 3, "hourly": 12, "daily": 14, "weekly": 8, "monthly": 12, "yearly": 3, "within": "14d"},
                        keep_least=7, max_forget=10, verify=604800.0, legacy=False),
    )  # fmt: skip
    assert config.policies["web1"].keep["within"] == "14d"
    clones = {clone.name: clone for clone in config.policies["web1"].clones}
    assert clones["web1-dr"].address == Address("dr.example.org", 22, "clone", EXAMPLE_HOST_KEY, key)
    assert (clones["web1-dr"].push, clones["web1-dr"].max_deletions) == ("0 4 * * *", 5)
    assert (clones["other"].address.user, clones["other"].max_deletions) == ("pbs", 20)


def test_a_source_wins_over_defaults_over_built_in(home: Home) -> None:
    """Precedence, and where each value came from."""
    home.config.write_bytes((CONFIGS / "valid/everything.toml").read_bytes())
    (home.sources_d / "mail.toml").write_text(WEB1 + 'keep = "3B"\n')
    config = load(home)
    origins = {key: (value, origin) for key, value, origin in config.resolved("mail")}
    assert origins["keep"] == ("3B", "sources.d/mail.toml")
    assert origins["timeout"] == ("1h30m", "[defaults] in pbs.toml")
    assert origins["port"] == (22, "built-in")
    assert (config.policies["mail"].keep, config.sources["mail"].timeout) == ({"last": 3}, 5400.0)
    db = config.sources["db_2"]
    assert (db.address.user, db.quota, config.policies["db_2"].keep) == ("backup", None, {})
    assert db.address.ssh_key == "/srv/keys/id_ed25519"
    json.dumps(config.resolved("db_2"))
    with pytest.raises(NotFound):
        config.resolved("nobody")


@pytest.mark.parametrize(
    ("listen", "base_url"),
    [("0.0.0.0:80", "http://127.0.0.1:80"), ("[::]:80", "http://[::1]:80"), ("b.example:8484", "http://b.example:8484"),
     ("off", "http://127.0.0.1:8484")],
)  # fmt: skip
def test_links_follow_listen(home: Home, listen: str, base_url: str) -> None:
    """Without base_url, links lead where the server listens."""
    home.config.write_text(f'[server]\nrun_dir = "/tmp/r"\nlisten = "{listen}"\n')
    assert load(home).server.base_url == base_url


def test_files_of_sources_d(home: Home) -> None:
    """Each file is a source; hidden files and others are none."""
    (home.sources_d / "web1.toml").write_text(WEB1)
    (home.sources_d / ".#web2.toml").write_text("an editor's")
    (home.sources_d / "web3.toml.orig").write_text("old")
    assert list(load(home).sources) == ["web1"]


def test_faults_of_all_files_come_together(home: Home) -> None:
    """One look shows everything that is wrong, wherever it stands."""
    home.config.write_text(f'[server]\nrun_dir = "/tmp/r"\nworkers = 0\n[source.web1]\n{WEB1}')
    (home.sources_d / "Web1.toml").write_text(WEB1)
    (home.sources_d / "a b.toml").write_text(WEB1)
    (home.sources_d / "broken.toml").write_bytes(b"host = 1\nuser = \xff")
    (home.sources_d / "dir.toml").mkdir()
    (home.sources_d / "short.toml").write_text('host = "a b"\nuser="x"\n[source.short]\n')
    found = faults(home)
    files = {fault.partition(": ")[0] for fault in found}
    assert files == {
        "pbs.toml", "sources.d/Web1.toml", "sources.d/a b.toml", "sources.d/broken.toml:2", "sources.d/dir.toml",
        "sources.d/short.toml",
    }  # fmt: skip
    assert any(
        "sources.d/Web1.toml: the name Web1 is taken by [source.web1] of pbs.toml" in fault for fault in found
    )
    assert any(fault.startswith('sources.d/short.toml: host: "a b" is no host') for fault in found)
    assert any(fault.startswith("sources.d/short.toml: host_key: is missing") for fault in found)


def test_a_broken_main_file_hides_no_other_fault(home: Home) -> None:
    """What pbs.toml might have given is not reported as missing; the rest is."""
    home.config.write_text("[defaults\n")
    (home.sources_d / "web1.toml").write_text("prt = 22\n")
    assert faults(home) == [
        (
            "pbs.toml:1: is no TOML: Expected ']' at the end of a table declaration; "
            "texts stand in quotes, tables in brackets"
        ),
        'sources.d/web1.toml: prt: unknown key; did you mean "port"?',
    ]


def test_without_pbs_toml(tmp_path: Path) -> None:
    """A folder that is no home says so."""
    assert faults(Home.at(tmp_path)) == ["pbs.toml: is missing; `pbs init` makes one"]


def test_a_home_whose_sockets_would_not_fit(home: Home) -> None:
    """The longest name decides, before anything starts."""
    home.config.write_text(f'[server]\nrun_dir = "/tmp/{"r" * 50}"\n[source.{"n" * 63}]\n{WEB1}')
    assert "run_dir" in faults(home)[0]


def test_a_source_that_is_not_written_yet(home: Home) -> None:
    """`source add` can ask before it writes."""
    values = tomllib.loads(WEB1)
    assert load(home, {"web1": values}).sources["web1"].address.host == "web1.example.org"
    with pytest.raises(ConfigError) as caught:
        load(home, {"web1": values | {"port": 0}})
    assert "sources.d/web1.toml: port:" in caught.value.faults[0]


def test_a_hostile_file_cannot_steer_the_terminal(home: Home) -> None:
    """What a message quotes is cleaned."""
    (home.sources_d / "a\x1b[2Jb\n.toml").write_text('"k\\u001b[31m" = "\\u202e"\nhost = "\\u001b]0;x"\n')
    text = "".join(faults(home))
    assert not set(text) & {"\x1b", "\n", "\u202e"}


def test_deep_nesting_is_a_fault(home: Home) -> None:
    """No document makes the reader fall over."""
    home.config.write_text(f"x = {'[' * 100_000}")
    assert len(faults(home)) == 1


def test_reading_loads_no_other_library() -> None:
    """`import pbs.config` brings pydantic and nothing else that costs."""
    code = "import sys, pbs.config; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & {"jinja2", "asyncssh", "aiohttp", "sqlalchemy", "rich", "typer", "feedgen", "lxml"}
