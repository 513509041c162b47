"""``WWW-Authenticate`` (RFC 9110, 11.6.1) in every form that registries and proxies write it.

Several challenges in one header or in several, parameters quoted or not, in any order and case, with commas inside
quotes, with credentials in token68 form, with stray commas. What cannot be read ends the reading: what was read
before it counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from slsa_verifier_plugin.registry import limits

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,)|$)")
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*)*")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the scheme in lower case, and its parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)

    def get(self, name: str) -> str:
        """Return a parameter's value, "" where it is absent."""
        return self.parameters.get(name, "")


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges in a ``WWW-Authenticate`` header, in their order.

    Args:
        header: the value, several headers joined with commas.
    """
    # Cut: what is parsed below is linear, and still costs time for whoever sends a megabyte.
    text = header[: limits.MAX_CHALLENGE_CHARACTERS]
    found: list[Challenge] = []
    position = _skip(text, 0)
    while position < len(text) and len(found) < limits.MAX_CHALLENGES:
        scheme = _SCHEME.match(text, position)
        # What cannot be read ends the reading; what was read before it counts.
        if scheme is None:
            break
        parameters, position = _parameters(text, scheme.end())
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def _parameters(text: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters from ``position`` on, and where the next challenge begins."""
    found: dict[str, str] = {}
    # As in "Negotiate TlRMTVNT...": one value without a name (RFC 9110, 11.2).
    credential = _TOKEN68.match(text, position)
    # A parameter's own "name=value" is no token68, for the pattern wants a comma or the end behind it.
    if credential is not None:
        # Passed over: none of those schemes is answered here.
        position = credential.end()
    start = _skip(text, position)
    while (parameter := _PARAMETER.match(text, start)) is not None:
        name, quoted, bare = parameter.groups()
        # The first of two wins: a second realm must not replace the one that was looked at.
        found.setdefault(name.lower(), bare if quoted is None else _ESCAPED.sub(r"\1", quoted))
        start = _skip(text, parameter.end())
    return found, start


def _skip(text: str, position: int) -> int:
    match = _SEPARATOR.match(text, position)
    return match.end() if match else position
