"""Reads the arguments with which containerd runs an image verifier. Whatever is not exactly such a call blocks the image.

``FILE -name REFERENCE -digest sha256:... -stdin-media-type application/vnd.oci.descriptor.v1+json`` (containerd 2.4,
``pkg/imageverifier/bindir``). Imports next to nothing: it runs before the resident verifier is asked.
"""

import re

NAME, DIGEST, MEDIA_TYPE = "-name", "-digest", "-stdin-media-type"
DESCRIPTOR = "application/vnd.oci.descriptor.v1+json"
PROGRAM = "slsa-verifier-plugin"
"""The file's name in containerd's ``bin_dir``; ``PROGRAM-PROFILE`` reads the policies of a profile."""
MAX_NAME = 1024
"""Characters of an image's name, as many as a reference may have (``registry.reference``)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
# A profile's folder lies among the default one's files (node.policy_folder), and must not take the place of one.
_PROFILE = re.compile(r"(?!(?:exempt|timeout)\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class CallError(Exception):
    """A call that is none of containerd's; ``str()`` says what was found and what was expected."""


class ImageCall:
    """What containerd asks about.

    Args:
        name: the reference that it pulls, as it writes it.
        digest: what that stands for now; the only thing that is verified.
        profile: whose policies decide; empty for the default ones.
    """

    __slots__ = ("digest", "name", "profile")

    def __init__(self, name: str, digest: str, profile: str) -> None:
        self.name = name
        self.digest = digest
        self.profile = profile


def parse_arguments(program: str, arguments: list[str]) -> ImageCall:
    """Return the call in a process's arguments.

    Args:
        program: the path that was executed; its last part chooses the profile.
        arguments: those after it.

    Raises:
        CallError: an argument is missing, unknown, given twice or not what it must be.
    """
    found = {}
    # Go's flag package would take "-name=x" as well; containerd writes two arguments each.
    if len(arguments) % 2:
        raise CallError(
            f"an odd number of arguments, {len(arguments)}; expected three names with their values"
        )
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        # A later containerd may ask for more: to pass over what is not understood could let something through.
        if option not in (NAME, DIGEST, MEDIA_TYPE):
            raise CallError(f"an argument that is none of {NAME}, {DIGEST} and {MEDIA_TYPE}")
        if option in found:
            # Which of two counts is each reader's own guess: containerd gives each once.
            raise CallError(f"{option} is given twice")
        found[option] = value
    missing = [option for option in (NAME, DIGEST, MEDIA_TYPE) if option not in found]
    if missing:
        raise CallError(f"{' and '.join(missing)} missing; containerd gives all three")
    # Standard input would then be something else than the descriptor that is read below.
    if found[MEDIA_TYPE] != DESCRIPTOR:
        raise CallError(f"{MEDIA_TYPE} is not {DESCRIPTOR}; this containerd is newer than what is known here")
    return ImageCall(_name(found[NAME]), _digest(found[DIGEST]), parse_program(program))


def _name(text: str) -> str:
    # Before the pattern: the length is the caller's.
    if not 0 < len(text) <= MAX_NAME:
        raise CallError(f"{NAME} has {len(text)} characters; expected 1 to {MAX_NAME}")
    # A blank, a line's end, a control character or what is no ASCII (undecodable bytes too) is in no image's name.
    if not text.isascii() or not text.isprintable() or " " in text:
        raise CallError(f"{NAME} has characters that no image's name has")
    return text


def _digest(text: str) -> str:
    # Upper case is another text: it would be compared with a registry's and never match.
    if not _DIGEST.fullmatch(text):
        raise CallError(f"{DIGEST} is not sha256: and 64 hexadecimal digits, in lower case")
    return text


def program_of(profile: str) -> str:
    """Return the name of the file whose calls a profile decides."""
    return f"{PROGRAM}-{profile}" if profile else PROGRAM


def parse_program(program: str) -> str:
    """Return the profile in the executed file's name; empty for the default one.

    Only the last part counts, so no path in it leads anywhere, and a name that is not understood is no default.

    Raises:
        CallError: it is no name of this verifier's.
    """
    own = program.rpartition("/")[2]
    # The name without a profile is the default one.
    if own == PROGRAM:
        return ""
    profile = own.removeprefix(f"{PROGRAM}-")
    # A program of another name is left by removeprefix as it was.
    if profile == own or not _PROFILE.fullmatch(profile):
        raise CallError(
            f"the file that containerd runs must be named {PROGRAM}, or {PROGRAM}-PROFILE with lower-case letters, digits and "
            "hyphens, but not exempt or timeout; rename it in bin_dir"
        )
    return profile
