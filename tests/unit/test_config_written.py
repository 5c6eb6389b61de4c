"""What we write is read back as the same, and what describes the fields agrees with what is taken."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.config import load, parse_source_settings, reference, render_sample, render_source_file, schema
from pbs.config.fields import (
    EXAMPLE_HOST_KEY,
    CloneFields,
    DefaultFields,
    FileFields,
    LimitFields,
    ServerFields,
)
from pbs.config.toml import toml_value
from pbs.errors import ConfigError
from pbs.home import Home

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/configuration.md"
MODELS = (ServerFields, DefaultFields, LimitFields, CloneFields)
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3),
    max_leaves=8,
)


def home_with(folder: Path, text: str) -> Home:
    home = Home.at(folder, "/tmp/r")
    home.config.write_text(text)
    return home


@given(st.dictionaries(TEXT.filter(bool), VALUES, max_size=4))
def test_any_value_is_read_back(values: dict[str, object]) -> None:
    """Quotes, newlines, control characters, odd keys: what is written comes back."""
    values.pop("clone", None)
    assert tomllib.loads(render_source_file(values)) == values


def test_clones_become_tables() -> None:
    """A source file has its fields first, in the order of the reference, then its clones."""
    values = {"clone": {"a b": {"host": "x"}, "c": {}}, "port": 22, "host": "h"}
    text = render_source_file(values)
    assert tomllib.loads(text) == values
    assert text.index("host =") < text.index("port =") < text.index('[clone."a b"]')


def test_no_raw_control_character_is_written() -> None:
    """A file of ours can be shown on a terminal."""
    assert toml_value("\x1b[2J\x07\x9b\u202e") == '"\\u001b[2J\\u0007\\u009b\\u202e"'
    with pytest.raises(ConfigError):
        toml_value("\ud800")
    with pytest.raises(ConfigError):
        toml_value(1.5)


def test_the_sample_sets_nothing(tmp_path: Path) -> None:
    """`pbs init` writes a file whose every line is a comment or a header, and which is taken."""
    assert tomllib.loads(render_sample()) == {"server": {}, "defaults": {}}
    home = home_with(tmp_path, render_sample())
    assert load(home).sources == {}


def test_the_sample_with_every_line_set_is_taken(tmp_path: Path) -> None:
    """Taking away the # of the fields gives the built-in values, and a source."""
    text = re.sub(r"^#(?=\S)", "", render_sample(), flags=re.MULTILINE).replace("var/run", "/tmp/r")
    told = tomllib.loads(text)
    assert set(told["server"]) == set(ServerFields.model_fields)
    assert set(told["defaults"]) | set(told["source"]["web1"]) == {*DefaultFields.model_fields, "clone"}
    assert list(load(home_with(tmp_path, text)).sources) == ["web1"]


@pytest.mark.parametrize("model", MODELS)
def test_every_field_is_described_and_its_examples_are_taken(model: type[DefaultFields]) -> None:
    """Meaning, what it takes, and examples that work, for each field."""
    for key, field in model.model_fields.items():
        assert (field.description or "").endswith((".", "`."))
        assert f"| `{key}` |" in reference()
        for example in field.examples or ():
            model.model_validate({key: example})


def test_the_schema_names_every_field() -> None:
    """Editors complete what the checks take, and nothing of ours leaks into it."""
    made = schema()
    assert made["additionalProperties"] is False
    definitions = made["$defs"]
    for model in MODELS:
        assert set(definitions[model.__name__]["properties"]) == set(model.model_fields)
    assert set(made["properties"]) == set(FileFields.model_fields)
    assert '"takes"' not in toml_value(made)
    assert definitions["DefaultFields"]["properties"]["quota"]["type"] == ["string", "integer"]


def test_settings_of_the_command_line() -> None:
    """TOML or a bare text, tables by dots."""
    words = [
        "port=2222", 'limits={upload="1MB/s"}', "schedule=0 * * * *", "user=1234", "timeout = 2h", "keep=2W",
        "clone.dr.host=dr.example.org", f"host_key={EXAMPLE_HOST_KEY}", 'quota="200GB"', "timezone=UTC",
    ]  # fmt: skip
    assert parse_source_settings(words) == {
        "port": 2222, "limits": {"upload": "1MB/s"}, "schedule": "0 * * * *", "user": "1234", "timeout": "2h",
        "keep": "2W", "clone": {"dr": {"host": "dr.example.org"}}, "host_key": EXAMPLE_HOST_KEY, "quota": "200GB",
        "timezone": "UTC",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("port", '--set: "port" is no KEY=VALUE'),
        ("=1", "is no KEY=VALUE"),
        ("a..b=1", "is no KEY=VALUE"),
        ("prt=1", '--set: prt: unknown key; did you mean "port"?'),
        ("port=70000", "--set: port: 70000 is no port"),
        ("user=a\nport=1", "--set: user:"),
        ("port=1\nuser=2", "--set: port:"),
        ("user=\udcff", "is not UTF-8"),
        ("name=x", "--set: name: unknown key"),
    ],
)
def test_settings_that_cannot_be(word: str, fault: str) -> None:
    """Each is refused with its place; nothing is taken from the rest."""
    with pytest.raises(ConfigError) as caught:
        parse_source_settings([word, "retries=1"])
    assert fault in caught.value.faults[0]


def test_a_setting_given_twice() -> None:
    """Which of two would count is not guessed."""
    with pytest.raises(ConfigError) as caught:
        parse_source_settings(["port=1", "port=2", "port.x=3"])
    assert len(caught.value.faults) == 2


def test_the_page_is_up_to_date() -> None:
    """docs/configuration.md holds the tables that the fields give."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_examples_of_the_page_are_taken(tmp_path: Path) -> None:
    """Every TOML example of the page loads as it stands, the host key filled in."""
    examples = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for number, text in enumerate(examples):
        whole = text.replace("ssh-ed25519 AAAA…", EXAMPLE_HOST_KEY)
        folder = tmp_path / str(number)
        folder.mkdir()
        if whole.startswith("# sources.d/"):
            home = home_with(folder, '[server]\nrun_dir = "/tmp/r"\n[defaults]\nuser = "backup"\n')
            load(home, {"web1": tomllib.loads(whole)})
        else:
            load(home_with(folder, whole))
