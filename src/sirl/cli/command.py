"""The command of every verb: grouped help, options that are given once, and Ctrl-C."""

from typing import Any

import typer

from sirl.cli.grouped_help import GroupedHelp
from sirl.errors import ConfigError

__all__ = ["Command"]

LISTED = "comma-separated"
"""In the help of an option whose value is a list."""


class Command(GroupedHelp):
    """A command that refuses an option given twice, and says what Ctrl-C has ended."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's own
        """Parse the words after the verb.

        Raises:
            ConfigError: An option that takes one value is given twice.
        """
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for param in given:
            if takes_one(param) and (times := sum(p is param for p in given)) > 1:
                raise ConfigError(repeated(param, times))
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own
        """Run the command; an interruption that it has not turned into another end is said here."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:  # typer would end in silence
            typer.echo(f"sirl: {str(interrupt) or 'stopped'}", err=True)
            raise typer.Exit(130) from interrupt


def takes_one(param: Any) -> bool:  # noqa: ANN401 - click's own
    """Whether a parameter is an option with one value, or one of --x and --no-x."""
    is_option = param.param_type_name == "option" and not param.multiple and not param.count
    return is_option and (not param.is_flag or bool(param.secondary_opts))


def repeated(param: Any, times: int) -> str:  # noqa: ANN401 - click's own
    """The sentence on an option that is given several times.

    In it the option has the name of its setting, whichever of its names was given.
    """
    names = "/".join([param.opts[0], *param.secondary_opts])
    often = "twice" if times == 2 else f"{times} times"
    listed = LISTED in (param.help or "")
    way = f"write {names} A,B" if listed else "give it once"
    return f"{names} is given {often} and takes one value: {way}"
