"""The command line: gathers the verbs, turns what a person can mend into one sentence."""

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
from sirl.errors import SirlError, Stopped, printable

__all__ = ["app", "main"]

app = typer.Typer(
    name="sirl",
    cls=Verbs,
    help="Harden chat models against jailbreaks with their own confidence, and prove what changed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MISUSED: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)
"""What the command line raises on wrong flags; typer brings a click of its own."""

NUMBER = re.compile(
    r"'(--[\w-]+)'.*: (?:Input should be|.* is not) a valid (integer|number|float).*"
)
NUMBERS = {"integer": "whole number", "number": "number", "float": "number"}


def show_version(value: bool) -> bool:
    """Print the version and leave."""
    if value:
        typer.echo(f"sirl {__version__}")
        raise typer.Exit
    return value


@app.callback()
def options(
    version: bool | None = typer.Option(False, "--version", callback=show_version, is_eager=True),
) -> None:
    """Options of sirl itself."""


def main() -> None:
    """Run the command line; exit 2 on what the user can mend, 130 when asked to stop."""
    if os.environ.get("RANK", "0") != "0":  # of many processes that do the same, one speaks
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            spoken()
    else:
        spoken()


def spoken() -> None:
    """Run the command line; whatever a person can mend ends in a sentence."""
    try:
        try:
            status = app(standalone_mode=False, prog_name="sirl")
        finally:
            sys.stdout.flush()  # a full device is told here, not after the end
    except MISUSED as error:
        misused(error)
    except SirlError as error:
        fail(str(error), 2)
    except KeyboardInterrupt:
        fail("stopped before anything began", 130)
    except Stopped as stopped:
        fail(f"{stopped}; go on with --resume", 130)
    except OSError as error:
        is_full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not deaf(sys.stdout) and not is_full:  # what was refused may be gone from the buffer
            raise
        fail(f"cannot write the output: {error.strerror}; free some space or send it elsewhere", 2)
    except RuntimeError as error:
        if not lost_another(error):
            raise
        first = str(error).strip().splitlines()[0]
        fail(
            f"another process of this run has ended or is out of reach ({first}); its own message "
            "says why; the last checkpoint is whole: start all again, with --resume",
            1,
        )
    sys.exit(status if isinstance(status, int) else 0)


def misused(error: Any) -> NoReturn:  # noqa: ANN401 - see MISUSED
    """Say in one sentence which flag or argument is wrong, and where all are named."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its help is printed, or is its message
        typer.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    said = " ".join(error.format_message().split()).rstrip(".").removeprefix("Invalid value for ")
    said = NUMBER.sub(lambda m: f"{m[1]} takes a {NUMBERS[m[2]]}", said)
    where = error.ctx.command_path if getattr(error, "ctx", None) else "sirl"
    fail(f"{said[0].lower()}{said[1:]}; see {where} --help", 2)


def deaf(stream: TextIO) -> bool:
    """Whether a stream takes nothing more; what it holds back is then let go."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return True
    return False


def lost_another(error: RuntimeError) -> bool:
    """Whether a process among many cannot go on because another is gone."""
    many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    said = str(error)
    return many and any(sign in said for sign in ("by peer", "NCCL", "Timed out", "timed out"))


def fail(sentence: str, status: int) -> NoReturn:
    """Say one sentence on the error stream and leave; of many processes each says which it is."""
    rank = os.environ.get("RANK", "0")
    sentence = "\n".join(map(printable, sentence.splitlines()))  # it may hold foreign words
    typer.echo(f"sirl: {sentence}" if rank == "0" else f"sirl [rank {rank}]: {sentence}", err=True)
    sys.exit(status)
