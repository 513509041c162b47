"""Writes ``docs/reasons.md`` from the page that the package carries for ``explain``: ``python -m tools.reasons``."""

from __future__ import annotations

from pathlib import Path

from slsa_verifier_plugin.cli.reason_page import page

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reasons.md"


def main() -> None:
    """Write the page."""
    DOCUMENT.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
