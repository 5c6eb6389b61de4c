"""The forced command: exactly one word from sshd, carried out or refused. Never a shell, never a second word.

Of the environment it reads SSH_ORIGINAL_COMMAND and nothing else. Its own arguments come from authorized_keys and
so from the operator of the source.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import List, Optional, Sequence

from pbs_agent import __version__, actions
from pbs_agent.backup import End
from pbs_agent.reply import Reply
from pbs_agent.words import PROFILE_NAME, Exit, StopWord, parse_word

USAGE = """\
pbs-agent --profile NAME [--config FILE]   carry out the word that sshd hands over
pbs-agent --profile NAME --check           show what would be backed up, and whether all is well
pbs-agent --version | --help

The agent is not meant to be run by hand. It is the forced command of a key in ~/.ssh/authorized_keys, on one line:

restrict,port-forwarding,permitopen="localhost:1",permitlisten="localhost:1",\
command="/usr/local/bin/pbs-agent --profile NAME" ssh-ed25519 ...

The words: ping, backup, clear. The profile: /etc/pbs-agent/NAME.toml, else ~/.config/pbs-agent/NAME.toml.
"""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    profile: Optional[str] = None
    config: Optional[str] = None
    show: Optional[str] = None  # "help", "version" or "check"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run once and return the exit status."""
    os.umask(0o077)
    _fill_standard_descriptors()
    command = os.environb.get(b"SSH_ORIGINAL_COMMAND")
    reply = Reply()
    try:
        options = parse_options(list(sys.argv[1:] if arguments is None else arguments))
        if options.show:
            return _show(options)
        word = parse_word(command)
    except StopWord as stop:
        if command is None and sys.stdin.isatty():
            reply.say(USAGE)
        return int(actions.finish(End(stop.code, stop.message), reply))
    return int(actions.answer(word, options.profile, options.config, reply))


def parse_options(arguments: List[str]) -> Options:
    """The command line. Whatever it does not know stops with WORD_REFUSED."""
    values = {}
    rest = list(arguments)
    while rest:
        option, joined, value = rest.pop(0).partition("=")
        if option in ("--help", "--version", "--check", "-h") and not joined:
            values["show"] = "help" if option == "-h" else option[2:]
        elif option in ("--profile", "--config") and (joined or rest):
            values[option[2:]] = value if joined else rest.pop(0)
        else:
            raise StopWord(
                Exit.WORD_REFUSED, f"the agent does not know the argument {option!r}; see pbs-agent --help"
            )
    if "profile" not in values and "config" in values:
        stem = os.path.splitext(os.path.basename(values["config"]))[0]
        if PROFILE_NAME.fullmatch(stem):
            values["profile"] = stem
    return Options(**values)


def _show(options: Options) -> int:
    if options.show == "check":
        return int(actions.report(options.profile, options.config))
    if options.show == "version":
        sys.stdout.write(f"pbs-agent {__version__}\n")
    else:
        sys.stderr.write(USAGE)
    return 0


def _fill_standard_descriptors() -> None:
    """Have something at 0, 1 and 2, so that no file of ours is opened there by accident."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
