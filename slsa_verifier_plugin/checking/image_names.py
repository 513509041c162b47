"""Reads an image's name as a person writes it, and tells a file's name from one."""

from __future__ import annotations

from pathlib import Path

from slsa_verifier_plugin.errors import ArtifactError, UsageError
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain, quoted

_FILE_ENDINGS = (".json", ".jsonl", ".yaml", ".yml", ".pem", ".gz", ".zip", ".tar", ".bundle")


def parse_image(text: str) -> Reference:
    """Return the reference that a person wrote.

    Raises:
        UsageError: it is none.
    """
    if _is_file_name(text):
        # Docker Hub would be asked for an image of that name.
        is_here = Path(text).is_file()
        remedy = f"give it as --bundle {plain(text)}" if is_here else "check its name and folder"
        raise UsageError(
            f"{quoted(text)} is {'a file, no image' if is_here else 'no image, and no file here'}; {remedy}"
        )
    try:
        return Reference.parse(text)
    except ArtifactError as error:
        raise UsageError(error.message) from error


def _is_file_name(text: str) -> bool:
    """Return True for what a person calls a file, and nobody an image."""
    return text.startswith(("./", "../", "/", "~")) or (
        text.endswith(_FILE_ENDINGS) and "@" not in text and ":" not in text
    )
