"""Reads an image's name as a person writes it, and tells a file's name from one."""

from __future__ import annotations

import re
from pathlib import Path

from slsa_verifier_plugin.errors import ArtifactError, UsageError
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain, quoted

_FILE_ENDINGS = (".json", ".jsonl", ".yaml", ".yml", ".pem", ".gz", ".zip", ".tar", ".bundle")
_TRANSPORT = re.compile(r"(?:oci|oci-archive|docker-archive|docker-daemon|dir|containers-storage):(?!//).+")
"""How skopeo and podman write where an image is (containers-transports, section 5 of the manual)."""
# A host with a port, or with a dot and no path: read as an image it would be one of Docker Hub's.
_HOST_ALONE = re.compile(r"(?:localhost|[0-9.]{7,15}|\[[^/]*\]|[^/:@]+\.[a-z]{2,})(?::[0-9]+)?/?")


def parse_image(text: str) -> Reference:
    """Return the reference that a person wrote.

    Raises:
        UsageError: it is none.
    """
    if _is_file_name(text):
        # Docker Hub would be asked for an image of that name.
        what, remedy = "no image, and no file here", "check its name and folder"
        if Path(text).is_file():
            what, remedy = "a file, no image", f"give it as --bundle {plain(text)}"
        elif Path(text).is_dir():
            what, remedy = (
                "a folder, no image",
                f"give a layout as --layout {plain(text)}, and an IMAGE of it",
            )
        raise UsageError(f"{quoted(text)} is {what}; {remedy}")
    # Docker Hub would be asked for these, too: its images have short names.
    if _TRANSPORT.fullmatch(text):
        raise UsageError(
            f"{quoted(text)} is no image in a registry; copy it to one ('skopeo copy', 'oras cp'), or give a layout that "
            "'slsa-verifier-plugin fetch' wrote as --layout"
        )
    if _HOST_ALONE.fullmatch(text):
        raise UsageError(
            f"{quoted(text)} names a registry alone; expected {plain(text).rstrip('/')}/REPOSITORY"
        )
    try:
        return Reference.parse(text)
    except ArtifactError as error:
        raise UsageError(error.message) from error


def _is_file_name(text: str) -> bool:
    """Return True for what a person calls a file, and nobody an image."""
    # A registry's host never begins so.
    if text.startswith(("./", "../", "/", "~")) or (text.endswith("/") and Path(text).is_dir()):
        return True
    # With a tag or a digest it can only be an image.
    return text.endswith(_FILE_ENDINGS) and "@" not in text and ":" not in text
