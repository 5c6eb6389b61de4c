"""The `pbs` program: the list of verbs, and the one switch that makes an exit code of an error."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from pbs import __version__
from pbs.cli import (
    admin,
    health,
    holding,
    keeping,
    keys,
    look,
    notify,
    quarantine,
    runs,
    search,
    service,
    sources,
    status,
    tokens,
    upkeep,
)
from pbs.errors import ConfigError, PbsError, UsageError
from pbs.files import refusal
from pbs.home import Home, require
from pbs.text import clean, clean_line

# Verbs that need no home, or that say better themselves what is missing in it.
HOMELESS = frozenset({"init", "rebuild", "demo", "completion", "agent", "config"})
# What supervisord starts: their log keeps the trace of a fault.
SERVICES = frozenset({"controller", "worker"})
CANCELLED, OF_THE_SHELL = 5, 130

app = typer.Typer(
    name="pbs",
    help="A pull-based backup server: one machine that you trust, backing up machines that you do not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    service,
    status,
    health,
    sources,
    holding,
    runs,
    keeping,
    look,
    search,
    notify,
    admin,
    keys,
    upkeep,
    tokens,
    quarantine,
):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pbs {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help="The home of the backup server; else $PBS_HOME, else the current folder."),
    ] = None,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            help="A file that holds the passphrase of a sealed keys folder; else $PBS_KEYS_FILE, else it is asked for."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that stand before every verb."""
    del version
    if keys_file is not None:
        os.environ["PBS_KEYS_FILE"] = str(keys_file.absolute())
    words = context.obj or ()
    context.obj = Home.at(home or Path(os.environ.get("PBS_HOME") or "."))
    if context.invoked_subcommand not in HOMELESS and not {"-h", "--help"} & set(words):
        require(context.obj)


def main() -> None:
    """Run one verb; the exit codes are those of the documentation, made here and nowhere else."""
    if "_PBS_COMPLETE" in os.environ:
        # The library knows the shells only once it was asked to; every other call is spared that.
        from typer._completion_classes import completion_init

        completion_init()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """One verb in this process; returns its exit code."""
    try:
        code: Any = app(arguments, standalone_mode=False, obj=tuple(arguments))
    except typer.Exit as leave:
        return int(leave.exit_code)
    except PbsError as error:
        return _report(error, as_json="--json" in arguments)
    except (KeyboardInterrupt, typer.Abort):
        # Only this command: what the service does goes on.
        print("pbs: stopped by Ctrl-C", file=sys.stderr)
        return CANCELLED
    except BrokenPipeError:
        # Whoever read our output has left; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the border of the program: no trace is an answer
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the library's usage errors
            print(_usage(error.format_message()), file=sys.stderr)
            return 2
        if os.environ.get("PBS_TRACE") or not SERVICES.isdisjoint(arguments):
            traceback.print_exception(error)
        if isinstance(error, UnicodeEncodeError):  # paths are bytes; only names and ids are looked up as text
            problem: PbsError = UsageError(
                "a name on the command line is not UTF-8", "`pbs source list` names them"
            )
        else:
            problem = refusal(error, "go on") if isinstance(error, OSError) else _fault(error)
        return _report(problem, as_json="--json" in arguments)
    # The library makes 130 of Ctrl-C, as a shell would; here cancelled is 5.
    return CANCELLED if code == OF_THE_SHELL else code if isinstance(code, int) else 0


def _usage(said: str) -> str:
    """What is wrong with the words of the command line; where there are none, the help says all."""
    return said if said.startswith("Usage:") else f"pbs: {said}\n  `pbs --help` lists the verbs"


def _fault(error: Exception) -> PbsError:
    """What nobody foresaw, as one sentence: a person who wants a file back has no use for a trace of our code."""
    return PbsError(
        f"a fault of pbs itself: {clean_line(f'{type(error).__name__}: {error}')}",
        "try `pbs doctor`; if that finds nothing, report it with what the same command prints with PBS_TRACE=1",
    )


def _report(error: PbsError, *, as_json: bool) -> int:
    if as_json:
        from pbs.views import error_view

        print(json.dumps(error_view(error)))
    print(f"pbs: {clean(error.message, 4000)}", file=sys.stderr)
    if isinstance(error, ConfigError):
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
