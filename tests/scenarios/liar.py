"""Agents that lie: forced commands that a source's new owner might put in place of ours, with the tools they would have."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from stage import SourceHost, find

# What every liar starts with. It speaks the protocol by default and lies only where its body says so.
PREFACE = r'''#!{python}
import hashlib, http.client, json, os, signal, socket, subprocess, sys, time

ROOT, RESTIC, DATA, SOCKETS, PAST = {root!r}, {restic!r}, {data!r}, {sockets!r}, {past!r}
WORD = os.environ.get("SSH_ORIGINAL_COMMAND", "")


def raw(data):
    while data:
        data = data[os.write(1, data):]


def say(event, **fields):
    raw(json.dumps(dict(event=event, **fields)).encode() + b"\n")


def hello(**more):
    say("hello", **dict(dict(protocol=1, agent="0.1.0", restic="0.19.1", profile="x", socket_folder=SOCKETS,
                             restore=False, free_bytes=1, paths=[DATA], words=["ping", "backup", "clear"]), **more))


def end(**more):
    say("end", **dict(dict(outcome="ok", message="done", snapshot=None, unreadable=0, root=None, exit=0), **more))


def request():
    wish = json.loads(sys.stdin.readline())
    return dict(wish, socket=PAST or wish["socket"])


def note(name, value):
    with open(os.path.join(ROOT, name), "w") as file:
        json.dump(value, file)


def start(wish, *arguments):
    """restic over the lent socket, with the password that was handed over."""
    reading, writing = os.pipe()
    os.write(writing, wish["password"].encode())
    os.close(writing)
    command = [RESTIC, "--repo=rest:http+unix://" + wish["socket"] + ":/", "--password-file=/dev/fd/%d" % reading,
               "--cache-dir=" + ROOT + "/cache", *arguments]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             pass_fds=[reading], cwd=DATA)
    os.close(reading)
    return child


def restic(wish, *arguments):
    child = start(wish, *arguments)
    out, err = child.communicate()
    return child.returncode, out.decode(), err.decode()


def backup(wish, *more, host=None, tags=None):
    """A snapshot, as the server asked for it unless said otherwise; its id."""
    words = ["backup", "--json", "--force", "--host=" + (host if host is not None else wish["source"])]
    words += ["--tag=" + tag for tag in (wish["tags"] if tags is None else tags)]
    code, out, err = restic(wish, *words, *more, ".")
    for line in reversed(out.splitlines()):
        if '"summary"' in line:
            return json.loads(line)["snapshot_id"]
    raise SystemExit("no snapshot: %s %s" % (code, err))


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def http_ask(wish, method, path, body=None):
    link = Unix(wish["socket"])
    try:
        link.request(method, path, body)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def put(wish, kind, data):
    """Upload bytes under their own hash."""
    name = hashlib.sha256(data).hexdigest()
    return name, http_ask(wish, "POST", "/" + kind + "/" + name, data)[0]


def names(wish, kind):
    return json.loads(http_ask(wish, "GET", "/" + kind + "/")[1] or b"[]") or []


def greet():
    hello()


def ping():
    greet()
    end(message="ready")


def job():
    greet()
    wish = request()
    end(snapshot=backup(wish))


{body}

os.makedirs(SOCKETS, mode=0o700, exist_ok=True)
if WORD == "ping":
    ping()
elif WORD == "backup":
    job()
else:
    raise SystemExit(64)
'''


def lie(source: SourceHost, body: str, past: Path | None = None) -> None:
    """Put a lying agent in place of the honest one.

    `past` is the endpoint's own socket: with it he goes past the gate, as if there were none. No source can; what
    lies behind the gate must not rely on it.
    """
    text = PREFACE
    for key, value in {
        "python": sys.executable, "root!r": repr(str(source.root)), "data!r": repr(str(source.data)),
        "sockets!r": repr(str(source.sockets)), "restic!r": repr(str(find("restic"))),
        "past!r": repr(str(past) if past else None), "body": body,
    }.items():  # fmt: skip
        text = text.replace("{" + key + "}", value)
    new = source.root / "agent.new"
    new.write_text(text)
    new.chmod(0o755)
    if not (honest := source.root / "agent.honest").exists():
        shutil.copy2(source.agent, honest)
    new.replace(source.agent)


def repent(source: SourceHost) -> None:
    """Put the honest agent back."""
    shutil.copy2(source.root / "agent.honest", source.root / "agent.new")
    (source.root / "agent.new").replace(source.agent)


def noted(source: SourceHost, name: str) -> Any:
    """What a liar wrote down about what it tried."""
    return json.loads((source.root / name).read_text())


def fingerprint(repository: Path) -> dict[str, str]:
    """Every file of a repository but its locks, with the hash of its bytes."""
    return {
        str(path.relative_to(repository)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in repository.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }
