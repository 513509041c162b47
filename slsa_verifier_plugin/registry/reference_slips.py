"""Says what keeps a text from being an image reference, where that is a slip that people make."""

from __future__ import annotations

import re

from slsa_verifier_plugin.text import plain

_DIGEST = r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})"
_USER = re.compile(rf"[^/@]*@.*/.*|[^/@]*//[^@]*@(?!{_DIGEST}\Z).*", re.DOTALL)
"""A user name, perhaps with a password, before the registry. No digest has a slash, and no registry is written as one."""
# In this order: the first pattern that fits is told, so the narrow ones stand before the wide ones.
_SLIPS = tuple(
    (re.compile(pattern, re.DOTALL), remedy)
    for pattern, remedy in (
        (r"", "name an image"),
        (r"\s.*|.*\s", "take away the blanks around it"),
        (r"""["'`].*|.*["'`]""", "take away the quotation marks"),
        (r"([A-Za-z][A-Za-z0-9+.-]*://).*", "take away the {0} at the start"),
        (r".*/", "take away the slash at the end"),
        (r".*([@:,;])", "take away the {0} at the end"),
        (r".*//.*", "a part between two slashes is empty"),
        (r"([^@]+?)[:@](?:sha256:)?([0-9a-f]{64})", "is {0}@sha256:{1} meant?"),
        (r"[^@]+@sha256:[0-9a-f]*", "the digits of a sha256 digest are 64"),
        (r"[^@]+@sha512:[0-9a-f]*", "the digits of a sha512 digest are 128"),
        (r"[^@]+@(?i:sha256|sha512):[0-9A-Fa-f]*", "write the digest in lower case"),
        (r"([^@]+)@([A-Za-z0-9_][A-Za-z0-9._-]{0,127})", "a tag stands behind a colon; is {0}:{1} meant?"),
        (r"[^@]*@[^@]*@.*", "it has two @"),
        (r"[^@]+@.*", "what stands behind the @ is no digest"),
        (r".*/[^/:]*:[^/:]*:[^/:]*", "it has two tags"),
        (r"[^/]*:(?:0*[0-9]{6,}|6553[6-9]|655[4-9].|65[6-9]..|6[6-9]...|[7-9]....)/.*", "a port is at most 65535"),
        (r"[A-Za-z0-9._:/@\[\]-]*([^A-Za-z0-9._:/@\[\]-]).*", 'nothing in it may be "{0}"'),
    )
)  # fmt: skip


def slip(text: str) -> str:
    """Return what to change in ``text``, which is no reference, as the end of a message; empty where nobody knows.

    What it shows of ``text`` is fit to show.
    """
    for pattern, remedy in _SLIPS:
        if found := pattern.fullmatch(text):
            return f": {remedy.format(*(plain(group) for group in found.groups()))}"
    return ""


def has_user(text: str) -> bool:
    """Return True where a user name or password may stand in ``text``, which then must not be shown."""
    return _USER.fullmatch(text) is not None
