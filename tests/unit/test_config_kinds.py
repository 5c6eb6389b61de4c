"""What each kind of value takes and refuses: hosts, accounts, host keys, schedules, what to keep."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from pbs.config.faults import check
from pbs.config.fields import EXAMPLE_HOST_KEY, DefaultFields, ServerFields
from pbs.config.hostkey import check_host_key
from pbs.config.keep import parse_keep
from pbs.config.schedules import check_schedule


def taken(key: str, value: object) -> object:
    return getattr(DefaultFields.model_validate({key: value}), key)


def refused(key: str, value: object) -> str:
    with pytest.raises(ValueError) as caught:
        DefaultFields.model_validate({key: value})
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("web1", "web1"), ("web1.example.org.", "web1.example.org."), ("192.0.2.7", "192.0.2.7"), ("::1", "::1"),
     ("[::1]", "::1"), ("fe80::1%eth0", "fe80::1%eth0"), ("my_host", "my_host"), ("9front.example", "9front.example")],
)  # fmt: skip
def test_hosts(written: str, meant: str) -> None:
    """Names, addresses of both kinds, brackets or not."""
    assert taken("host", written) == meant


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "-oProxyCommand=x", "root@web1", "web1:22", "[::1]:22", "192.0.2.256", "1.2.3", "a..b", "ü.de",
     "a\nb", "a\x00b", "fe80::1%$(x)", "[web1]", "x" * 254, "a/b", "a-.de", 7, None, ["a"]],
)  # fmt: skip
def test_no_hosts(host: object) -> None:
    """Whatever ssh could read as an option, an account, a port or a command is none."""
    refused("host", host)


@pytest.mark.parametrize("user", ["backup", "_x", "a.b", "DOMAIN\\joe", "joe@example.org"])
def test_users(user: str) -> None:
    """Accounts as directories name them."""
    assert taken("user", user) == user


@pytest.mark.parametrize("user", ["", "-l", "a b", "a\tb", "a:b", "../x", "a\x1bb", "x" * 256, 1])
def test_no_users(user: object) -> None:
    """No leading dash, no blanks, no control characters."""
    refused("user", user)


def public_keys() -> list[str]:
    keys = [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)]
    keys += [ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())]
    return [key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in keys]


def test_host_keys_of_every_kind() -> None:
    """What OpenSSH writes is taken; a comment is dropped."""
    for key in public_keys():
        assert check_host_key(key) == key
        assert check_host_key(f" {key} root@web1 (new)\n") == key


@given(st.data())
def test_a_damaged_host_key_is_no_host_key(data: st.DataObject) -> None:
    """Cutting bytes off is noticed."""
    kind, encoded = EXAMPLE_HOST_KEY.split()
    blob = base64.b64decode(encoded)
    cut = blob[: data.draw(st.integers(0, len(blob) - 1))]
    with pytest.raises(ValueError, match="ssh_host_ed25519_key"):
        check_host_key(f"{kind} {base64.b64encode(cut).decode()}")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "a host key is text"),
        (7, "a host key is text"),
        ("ssh-ed25519", "is missing"),
        (EXAMPLE_HOST_KEY.replace("ssh-ed25519", "ssh-rsa"), 'holds a key of type "ssh-ed25519"'),
        (f"web1 {EXAMPLE_HOST_KEY}", "a line of known_hosts"),
        (f"{EXAMPLE_HOST_KEY}\n{EXAMPLE_HOST_KEY}", "several lines"),
        ("ssh-dss AAAA", "no type of host key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "no type of host key"),
        ("SHA256:abc", "no type of host key"),
    ],
)
def test_no_host_keys(key: object, said: str) -> None:
    """Each says what it is instead, and how to get the right one."""
    with pytest.raises(ValueError, match=r".") as caught:
        check_host_key(key)
    assert said in str(caught.value)


def test_a_weak_key_is_refused() -> None:
    """1024 bits of RSA pin nothing."""
    exponent, modulus = b"\x01\x00\x01", b"\x00" + b"\xff" * 128
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-rsa", exponent, modulus))
    with pytest.raises(ValueError, match="too weak"):
        check_host_key(f"ssh-rsa {base64.b64encode(blob).decode()}")


@pytest.mark.parametrize(
    "schedule",
    ["0 * * * *", "*/5 0-23/2 1,15 jan-mar,DEC mon-fri", "0 0 29 2 *", "0 0 31 2 mon", "59 23 31 12 7", "5/10 * * * *",
     "every 6h", "every 1h30m", "on-notification", "manual", "  0  2 * *  * "],
)  # fmt: skip
def test_schedules(schedule: str) -> None:
    """Cron, a distance, by notice, by hand."""
    assert check_schedule(schedule) == " ".join(schedule.split())


@pytest.mark.parametrize(
    "schedule",
    ["", "hourly", "@daily", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
     "* * * * 8", "5-1 * * * *", "*/0 * * * *", "1,,2 * * * *", "a * * * *", "* * * foo *", "0 0 30 2 *",
     "0 0 31 4,6 *", "every", "every 0s", "every 6", "every 6h 5m", "-1 * * * *", "*-5 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_no_schedules(schedule: str) -> None:
    """What never comes, or that no cron would read, is refused with what would be right."""
    with pytest.raises(ValueError, match="write"):
        check_schedule(schedule)


def test_on_notification_is_no_time_to_push() -> None:
    """A clone is brought up to date after a pull or on a schedule."""
    with pytest.raises(ValueError, match="after-pull"):
        check_schedule("on-notification", also=('"after-pull"',), notice=False)


@pytest.mark.parametrize(
    ("written", "rules"),
    [("2W", {"within": "14d"}), ("3B", {"last": 3}), ("2y5m7d3h", {"within": "2y5m7d3h"}), ("", {}), ({}, {}),
     ("1Y2M1W1D", {"within": "1y2m8d"}), ("36h", {"within": "36h"}), ({"within": "2w"}, {"within": "14d"}),
     ({"hourly": 5, "last": 1}, {"hourly": 5, "last": 1}), ("0y3d", {"within": "3d"})],
)  # fmt: skip
def test_what_is_kept(written: object, rules: dict[str, object]) -> None:
    """Tables and the older spellings."""
    assert parse_keep(written) == rules


@pytest.mark.parametrize(
    "written",
    ["2", "W", "0B", "0d", "3h2d", "2d2d", "1s", "-1d", "2 W", 3, ["2W"], None, True, {"daily": 0}, {"daily": "7"},
     {"daily": True}, {"within": 2}, {"days": 7}, {"within": ""}, {"last": 10**6}],
)  # fmt: skip
def test_what_keeps_nothing(written: object) -> None:
    """A rule that would keep nothing, or that nobody knows, is never taken for one that keeps something."""
    with pytest.raises(ValueError):
        parse_keep(written)


@pytest.mark.parametrize("url", ["http://a", "https://b.example:8/x", "http://[::1]:8484"])
def test_addresses_of_links(url: str) -> None:
    """With or without port and path; a closing slash is dropped."""
    assert ServerFields.model_validate({"base_url": f"{url}/"}).base_url == url


@pytest.mark.parametrize(
    "url",
    ["a", "ftp://a", "http://", "http://u:p@a", "http://a:x", "http://a?b", "http://a b", "http://[::1"],
)
def test_no_addresses_of_links(url: str) -> None:
    """What a reader could not follow."""
    with pytest.raises(ValueError):
        ServerFields.model_validate({"base_url": url})


@pytest.mark.parametrize("listen", ["off", "0.0.0.0:1", "[::]:65535", "localhost:8484"])
def test_listening(listen: str) -> None:
    """Names, both kinds of addresses, or not at all."""
    assert (ServerFields.model_validate({"listen": listen}).listen is None) == (listen == "off")


@pytest.mark.parametrize(
    "listen", ["", "on", ":80", "::1:80", "[::1]", "a:0", "a:99999", "a:٣", "a b:1", "http://a:1", 8484]
)
def test_not_listening(listen: object) -> None:
    """A port is always there, IPv6 in brackets."""
    with pytest.raises(ValueError):
        ServerFields.model_validate({"listen": listen})


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)
))  # fmt: skip
def test_no_value_makes_a_check_fall_over(value: object) -> None:
    """Whatever stands in a file, a field takes it or names a fault."""
    for model in (DefaultFields, ServerFields):
        for key in model.model_fields:
            values, faults = check(model, {key: value}, "pbs.toml", ("source", "web1"))
            assert (values is None) == bool(faults)
            assert not set("".join(faults)) & {"\x1b", "\n", "\u202e"}
