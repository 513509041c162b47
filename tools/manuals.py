"""Writes man pages and completions into ``share/``, which the wheel installs: ``python -m tools.manuals``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import PROGRAM
from slsa_verifier_plugin.cli.commands.completion_command import NAMES, script
from slsa_verifier_plugin.cli.main import program

SHARE = Path(__file__).resolve().parent.parent / "share"


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file below ``share/`` and its text."""
    for name in NAMES:
        # The plugin's names are the same program: their pages are one.
        text = manual() if name == PROGRAM else f".so man1/{PROGRAM}.1\n"
        yield SHARE / "man" / "man1" / f"{name}.1", text
        yield SHARE / "bash-completion" / "completions" / name, f"{script('bash', name).strip()}\n"
        yield SHARE / "zsh" / "site-functions" / f"_{name}", f"{script('zsh', name).strip()}\n"
        yield SHARE / "fish" / "vendor_completions.d" / f"{name}.fish", f"{script('fish', name).strip()}\n"


def manual() -> str:
    """Return the page on the program with all its commands, as troff (man(7))."""
    context = click.Context(program, info_name=PROGRAM, **program.context_settings)
    lines = [
        f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"',
        ".SH NAME",
        f"{PROGRAM}, slsa, slsla \\- admit an image only if its source met its SLSA level",
        ".SH SYNOPSIS",
        f".B {_escaped(PROGRAM)}",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        _escaped(
            "Ratify's verifier plugin, at the command line. Without arguments, called by Ratify, it is the plugin."
        ),
        ".SH OPTIONS",
        *_options(program, context),
        ".SH COMMANDS",
        *_commands(program, context, ""),
        ".SH EXIT STATUS",
        "0 admitted or done; 1 denied, or something is wrong; 2 usage or configuration; 3 undecided; 130 interrupted.",
        ".SH ENVIRONMENT",
        ".TP\n.B SLSA_VERIFIER_POLICY\nThe policy file where no \\-\\-policy is given.",
        ".TP\n.B NO_COLOR\nNo colours.",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context, path: str) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        full = f"{path} {name}".strip()
        inner = click.Context(command, info_name=full, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner, full)
            continue
        arguments = " ".join(
            part.make_metavar(inner) for part in command.params if isinstance(part, click.Argument)
        )
        yield f".SS {_escaped(f'{full} {arguments}'.strip())}"
        for paragraph in (command.help or "").split("\n\n"):
            yield ".PP"
            yield _escaped(" ".join(paragraph.replace("\b", "").split()))
        yield from _options(command, inner)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    # Without --help: click adds it in the form of whichever context asked for it first.
    for option in command.params:
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None:
            yield ".TP"
            yield f".B {_escaped(record[0])}"
            yield _escaped(" ".join(record[1].split()))


def _escaped(text: str) -> str:
    """Return text in which troff sees no request and no escape, and a hyphen can be copied as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def main() -> None:
    """Write all files."""
    for path, text in files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
