"""click's commands and groups as this program has them, and a group whose commands are imported only when they run.

``--help``, ``--version`` and completion need no more than the table of names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Lazy(NamedTuple):
    """The module in ``cli/commands`` that has a command, without ``_command`` at its end, and the command's help in one line."""

    module: str
    help: str


class StrictCommand(click.Command):
    """A command that refuses an option given twice with two values, where only one counts.

    click takes the last one silently: of two policies the first would never be looked at.
    """

    def make_parser(self, ctx: click.Context) -> Any:
        """Return click's parser, each of whose options looks whether it has been given before."""
        parser = super().make_parser(ctx)
        if not ctx.resilient_parsing:
            # A shell that completes must not be stopped by what is typed so far.
            for option in {*parser._long_opt.values(), *parser._short_opt.values()}:
                # The parser's own hook for one option: a callback of click's would see the last value alone.
                option.process = partial(_process, option, option.process, ctx)  # type: ignore[method-assign]
        return parser


def _process(
    option: Any, process: Callable[[Any, Any], None], ctx: click.Context, value: Any, state: Any
) -> None:
    # As an unset variable of a shell leaves it. pathlib takes it for the folder that one is in: that would be written to.
    if value == "" and isinstance(option.obj.type, click.Path):
        raise click.UsageError(
            f"{_names_of(option, ctx)} is empty, expected the name of a file or folder", ctx
        )
    # Before click's own step, which replaces the value.
    before = state.opts.get(option.dest)
    process(value, state)
    # Options that may be repeated collect; flags have one value.
    is_single = option.action in ("store", "store_const")
    # The same value twice contradicts nothing; scripts put defaults in front of arguments.
    if is_single and before is not None and before != state.opts[option.dest]:
        raise click.UsageError(f"{_names_of(option, ctx)} is given twice, and only one can count", ctx)


def _names_of(given: Any, ctx: click.Context) -> str:
    """Return how the options that set the same as ``given`` are written: ``--format`` and ``--json`` set one thing."""
    options = [option for option in ctx.command.params if option.name == given.dest and option.opts]
    return " or ".join(option.opts[0] for option in options)


class StrictGroup(StrictCommand, click.Group):
    """A group of strict commands, which its help lists in the order in which they are defined."""

    command_class = StrictCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in their order; click sorts them."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with; a misspelt one gets a suggestion."""
        name, known = args[0], self.list_commands(ctx)
        # An option here is the group's own; click knows what to say of it.
        if name in known or name.startswith("-"):
            return super().resolve_command(ctx, args)
        from slsa_verifier_plugin.text import nearest

        near = nearest(name, known, 0.5)
        hint = f"did you mean '{near}'?" if near else f"known are {', '.join(known)}"
        raise click.UsageError(f"there is no command '{name}'; {hint}", ctx)


class LazyGroup(StrictGroup):
    """A group that knows its commands by name.

    Args:
        table: names to commands, in the order of the help.
    """

    def __init__(self, *args: Any, table: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None where there is none of that name."""
        lazy = self._table.get(cmd_name)
        # click asks for names that do not exist while it completes.
        if lazy is None:
            return None
        # Now: a command's module imports what only it needs.
        module = import_module(f"slsa_verifier_plugin.cli.commands.{lazy.module}_command")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self._table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names and options that begin with ``incomplete``."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=lazy.help)
            for name, lazy in self._table.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)
