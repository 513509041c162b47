"""Types of options' values. A wrong value gets a message that names the nearest right one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from slsa_verifier_plugin.checking.demands import ROOTS
from slsa_verifier_plugin.text import nearest


class Choice(click.Choice[str]):
    """One of a few words; a misspelt one gets a suggestion."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return click's message, and the nearest word."""
        # click ends its message with a full stop, and a question follows here.
        return super().get_invalid_choice_message(value, ctx).rstrip(".") + meant(str(value), self.choices)


class TrustedRootFile(click.Path):
    """A trusted root: a file that is there, or one of ``ROOTS``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; what is neither is a usage error, before anything is asked."""
        if value not in ROOTS and not os.path.isfile(value):  # noqa: PTH113 (as below)
            found = f"there is no file '{value}'{meant(value, ROOTS)}"
            self.fail(f"{found}; name a trusted_root.json, or {' or '.join(ROOTS)}", param, ctx)
        return super().convert(value, param, ctx)


class PolicyFile(click.Path):
    """A policy file; where the environment names none, the message says that it was the environment."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        is_there = value == "-" or os.path.isfile(value)  # noqa: PTH113 (pathlib is not loaded for completion)
        source = ctx.get_parameter_source(str(param.name)) if ctx and param else None
        # Nobody has the environment before his eyes; of an option the command itself says what is wrong.
        if not is_there and source == ParameterSource.ENVIRONMENT:
            self.fail(f"it names '{value}', which is no file; correct it, or give --policy", param, ctx)
        return super().convert(value, param, ctx)


def meant(word: str, known: Sequence[str]) -> str:
    """Return the end of a message that asks whether the nearest of ``known`` is meant; empty where none is near."""
    near = nearest(word, known)
    return f"; is {near} meant?" if near else ""
