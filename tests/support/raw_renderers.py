"""Renderers that show a text raw, which nobody calls: mypy has to refuse each line that says so.

An ignore that is not needed is an error of its own (``strict``): ``make lint`` fails where a sink takes what it must not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from slsa_verifier_plugin.cli.audit_report import put
from slsa_verifier_plugin.cli.session import show
from slsa_verifier_plugin.sinks import (
    Html,
    Markdown,
    html_name,
    html_parts,
    joined,
    markdown_table,
    markdown_text,
)


def page(name: str) -> Iterator[Html]:
    yield from html_parts("<b>{{ name }}</b>", {"name": name})
    yield f"<b>{name}</b>"  # type: ignore[misc]
    yield html_name(name) + name  # type: ignore[misc]


def table(name: str) -> Markdown:
    lines = list(markdown_table(["a"], [[name]]))  # type: ignore[list-item]
    return "\n".join(lines)  # type: ignore[return-value]


def write(name: str) -> None:
    show(markdown_text(name))
    show(f'{{"name": "{name}"}}')  # type: ignore[arg-type]
    show(name)  # type: ignore[arg-type]
    put(sys.stdout, [name])  # type: ignore[list-item]
    put(sys.stdout, page(name))
    joined([name])  # type: ignore[list-item]
