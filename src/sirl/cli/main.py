"""The `sirl` command: runs a verb and turns expected errors into one sentence."""

import errno
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn, TextIO

import typer

from sirl import __version__
from sirl.cli.verbs import Verbs
from sirl.errors import SirlError, Stopped, lost_rank, printable
from sirl.renamed import SETTINGS, meant

__all__ = ["app", "main"]

app = typer.Typer(
    name="sirl",
    cls=Verbs,
    help="Harden chat models against jailbreaks with their own confidence; measure the effect.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MISUSED: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)
"""Base class of usage errors. Found by name, since typer may bundle its own copy of click."""

NUMBER = re.compile(
    r"'(--[\w-]+)'.*: (?:Input should be|.* is not) a valid (integer|number|float).*"
)
NUMBERS = {"integer": "whole number", "number": "number", "float": "number"}


def show_version(value: bool) -> bool:
    """Print the version and exit."""
    if value:
        typer.echo(f"sirl {__version__}")
        raise typer.Exit
    return value


@app.callback()
def options(
    version: bool | None = typer.Option(
        False, "--version", callback=show_version, is_eager=True, help="print the version"
    ),
) -> None:
    """Top-level options."""


def main() -> None:
    """Run the command line; exit status 2 on a user error, 130 when stopped."""
    if os.environ.get("RANK", "0") != "0":  # only rank 0 prints
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            run_app()
    else:
        run_app()


def run_app() -> None:
    """Run the command line and print a sentence for every expected error."""
    try:
        try:
            status = app(standalone_mode=False, prog_name="sirl")
        finally:
            sys.stdout.flush()  # raises here if the disk is full, not at interpreter exit
    except MISUSED as error:
        misused(error)
    except SirlError as error:
        fail(str(error), 2)
    except KeyboardInterrupt:
        fail("stopped before the command started", 130)
    except Stopped as stopped:
        fail(f"{stopped}; continue with --resume", 130)
    except Exception as error:
        expected(error)
        raise
    sys.exit(status if isinstance(status, int) else 0)


def expected(error: Exception) -> None:
    """Report an error that is no bug of sirl although it is none of its own errors.

    It is a plug-in's, an output that cannot be written, or another rank that has ended.
    """
    from sirl.registry.plugins import plugin_fault  # which would slow every start

    if fault := plugin_fault(error):
        fail(str(fault), 2)
    if isinstance(error, OSError):
        is_full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if deaf(sys.stdout) or is_full:  # the failed write may have left the buffer
            fail(
                f"cannot write the output: {error.strerror}; free some space or write it elsewhere",
                2,
            )
    if lost_rank(error):
        first = str(error).strip().splitlines()[0]
        fail(
            f"another process of this run has ended or cannot be reached ({first}); its own "
            "message gives the reason; the last checkpoint is complete: restart all processes with "
            "--resume",
            1,
        )


def misused(error: Any) -> NoReturn:  # noqa: ANN401 - see MISUSED
    """Report a wrong flag or argument in one sentence that points to `--help`."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its help is printed, or is its message
        typer.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    suggest_present_name(error)
    said = " ".join(error.format_message().split()).rstrip(".").removeprefix("Invalid value for ")
    said = NUMBER.sub(lambda m: f"{m[1]} takes a {NUMBERS[m[2]]}", said)
    where = error.ctx.command_path if getattr(error, "ctx", None) else "sirl"
    fail(f"{said[0].lower()}{said[1:]}; see {where} --help", 2)


def suggest_present_name(error: Any) -> None:  # noqa: ANN401 - see MISUSED
    """Name the present flag to a user who gave the former one, or one of another tool."""
    given = getattr(error, "option_name", "").lstrip("-").replace("-", "_")
    context = getattr(error, "ctx", None)
    known = [param.name for param in context.command.params] if context else []
    if (name := SETTINGS.get(given)) and name in known:
        error.message += f", which is now called --{name.replace('_', '-')}"
    elif name := meant(given, known):
        error.message += f": sirl has --{name.replace('_', '-')}"
    else:
        return
    error.possibilities = None


def deaf(stream: TextIO) -> bool:
    """Whether a stream rejects writes; if so, its buffer is discarded."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return True
    return False


def fail(sentence: str, status: int) -> NoReturn:
    """Print one sentence to stderr, with the rank if it is not 0, and exit."""
    rank = os.environ.get("RANK", "0")
    sentence = "\n".join(map(printable, sentence.splitlines()))  # it may quote untrusted text
    typer.echo(f"sirl: {sentence}" if rank == "0" else f"sirl [rank {rank}]: {sentence}", err=True)
    sys.exit(status)
