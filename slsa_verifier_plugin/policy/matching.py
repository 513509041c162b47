"""Patterns of the policy: wildcards for resource URIs and refs, regular expressions for identities.

Wildcards match names, never syntax: a text is taken apart first, and one that could be taken apart in two ways matches none.
``\\*`` in a pattern is the character ``*`` itself. Whatever the caller writes runs on RE2, whose time is linear in the text: what
is matched comes from outside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slsa_verifier_plugin.model.source_uri import ignores_case

# The order counts: ``\*`` is a character and no wildcard, and ``**`` is one wildcard and not two.
_TOKEN = re.compile(r"(\\\*|\*\*|\*)")

_LABEL = r"[A-Za-z0-9_-]+"
_SEGMENT = r"[A-Za-z0-9._~!$&'()*+,;=:@-]+"
_LOCATED = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>{_LABEL}(?:\.{_LABEL})*)(?P<port>:[0-9]{{1,5}})?(?P<path>(?:/{_SEGMENT})*)"
)
"""A URI with a host (RFC 3986, section 3), its characters as they are: no user name, query, fragment, percent escape."""
_UNLOCATED = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
# Empty and dot segments, also before a ref: whoever normalizes a path (RFC 3986, section 5.2.4) reads another one.
_DOT_SEGMENT = re.compile(r"(^|[/@])(\.{0,2}(?=/|$)|\.{1,2}(?=@))")
# What ``*`` and ``**`` match, and what a ``**`` at a pattern's end matches beyond that.
# In lower case alone: hosts are compared in lower case.
_IN_HOST = ("[a-z0-9_-]*", "[a-z0-9_.-]*", "")
# No wildcard matches an ``@``, behind which the ref begins, unless it is the last one.
_IN_PATH = ("[A-Za-z0-9._~-]*", "[A-Za-z0-9._~/-]*", "(?:@[A-Za-z0-9._~/-]*)?")

_NO_REF_NAME = re.compile(
    r"[\x00-\x20\x7f-\x9f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|(^|/)\.|\.lock(/|$)|[/.]$|^/|^@?$"
)
"""What ``git check-ref-format`` refuses; ``#``, ``%``, ``@`` and letters of any alphabet are legal in a ref's name."""
# A ref is a name of git's and no URI; ``_NO_REF_NAME`` has refused what git refuses.
_IN_REF = ("[^/]*", ".*", "")

# A URI whose host ends for certain; what begins with ``@``, ``?`` or ``#`` keeps the case of its letters.
_FOLDABLE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<host>[A-Za-z0-9_.-]+)(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[!\"$->A-~]*)(?P<rest>[@?#].*)?"
)
_AMBIGUOUS_IDENTITY = re.compile(r"[^!-~]|\\|^[^/@]*://[^/]*[^A-Za-z0-9._:/-]|^[^/@]*://[^@]*[?#]")
"""Characters that no pattern may pass over in a certificate's name: blanks, control and non-ASCII characters, backslashes, a user
name or other syntax in a URI's authority, a query or fragment before the ref, in which ``#`` is legal."""


class PatternError(ValueError):
    """A regular expression that RE2 cannot compile."""


@dataclass(frozen=True, slots=True)
class UriPattern:
    """A resource URI, in which ``*`` stands for unreserved characters (RFC 3986, section 2.3) of one segment or host label.

    ``**`` goes across segments, or across labels of the host, but never from one to the other, and never over the ``@`` before a
    ref, unless it ends the pattern; ``**`` alone is any URI. Where the host ignores case, owners and repositories compare
    without it.
    """

    pattern: str

    @property
    def has_wildcard(self) -> bool:
        """True where the pattern names more than one URI."""
        return _has_wildcard(self.pattern)

    @property
    def can_match(self) -> bool:
        """True where the pattern matches what a summary's resourceUri may be: a URI with a host and a path."""
        # Without a wildcard the caller may mean any text at all; it is compared as it is.
        if not self.has_wildcard or self.pattern == "**":
            return True
        found = _located(_sample(self.pattern))
        return found is not None and bool(found[2]) and self.matches(_sample(self.pattern))

    def matches(self, text: str) -> bool:
        """Return True if the whole ``text`` matches.

        With a wildcard in the pattern, no text matches that has a query, a fragment, a user name, empty or dot segments, or a
        character that no URI has as it is: it may name something else than it seems to.
        """
        # One URI as it is written, of whatever form: there is no wildcard that could reach into a wrong part of it.
        if not self.has_wildcard:
            return _folded(text) == _folded(_literal(self.pattern))
        if self.pattern == "**":
            # It names nothing, so there is nothing that a text could be mistaken for.
            return _located(text) is not None or _is_plain(text, _UNLOCATED)
        if "://" not in self.pattern:
            # What has no host is matched by segments alone; a URI with one has an empty segment between its slashes.
            return _is_plain(text, _UNLOCATED) and _fullmatch(_translated(self.pattern, _IN_PATH), text)
        found = _located(text)
        return found is not None and self._matches_located(*found)

    def _matches_located(self, scheme: str, host: str, path: str) -> bool:
        # Part by part: a wildcard of the path can then not reach into the host, whatever the text is.
        own_scheme, _, rest = self.pattern.partition("://")
        own_host, slash, own_path = rest.partition("/")
        # Schemes compare as they are written: "git+https" is not "https", though both may lead to one repository.
        if own_scheme != scheme or not _fullmatch(_translated(own_host.lower(), _IN_HOST), host):
            return False
        # Without case only where nobody else can register the other spelling.
        if ignores_case(host):
            path, own_path = _lower_before_ref(path), _lower_before_ref(own_path)
        return _fullmatch(_translated(slash + own_path, _IN_PATH), path)


@dataclass(frozen=True, slots=True)
class RefPattern:
    """A ref, in which ``*`` stands for any characters of one part between slashes, and ``**`` for any at all."""

    pattern: str

    @property
    def can_match(self) -> bool:
        """True where the pattern matches what git allows for a ref's name."""
        return not _NO_REF_NAME.search(_sample(self.pattern))

    def matches(self, text: str) -> bool:
        """Return True if the whole ``text`` matches.

        With a wildcard in the pattern, no text matches that git would not take for a ref's name.
        """
        if not _has_wildcard(self.pattern):
            return text == _literal(self.pattern)
        return not _NO_REF_NAME.search(text) and _fullmatch(_translated(self.pattern, _IN_REF), text)


@dataclass(frozen=True, slots=True)
class IdentityPattern:
    """A regular expression that must match an identity in full (RE2 syntax, as cosign's)."""

    pattern: str

    def check(self) -> None:
        """Raise ``PatternError`` if RE2 cannot compile the pattern."""
        _compiled(self.pattern)

    def matches(self, text: str) -> bool:
        """Return True if the whole ``text`` matches, and it is a name that can be read in one way alone."""
        return _is_named(self.pattern, text)


def escaped(text: str) -> str:
    """Return the pattern of a URI or ref that matches ``text`` alone."""
    return text.replace("*", "\\*")


# A policy may have 256 URIs, and each of up to 65,536 candidates is held against all of them before its signature is checked:
# what is known of a pattern, and of the text at hand, is worked out once.
_once = lru_cache(maxsize=1024)


@_once
def _has_wildcard(pattern: str) -> bool:
    return any(token in ("*", "**") for token in _TOKEN.findall(pattern))


def _sample(pattern: str) -> str:
    """Return a text that the pattern matches, if it matches any."""
    # Every wildcard matches one letter, in a host, a path and a ref.
    return "".join("a" if part in ("*", "**") else _literal(part) for part in _TOKEN.split(pattern))


def _literal(pattern: str) -> str:
    return pattern.replace("\\*", "*")


def _is_plain(text: str, form: re.Pattern[str]) -> bool:
    if form.fullmatch(text) is None:
        return False
    return not _DOT_SEGMENT.search(text.partition("://")[2] if "://" in text else text)


@_once
def _located(text: str) -> tuple[str, str, str] | None:
    """Return scheme, host (lower case, with its port) and path of a URI that wildcards may match; None for any other."""
    # A text that is no plain URI matches no wildcard: a user name or an escape could hide another host or path in it.
    found = _LOCATED.fullmatch(text)
    if found is None or not _is_plain(text, _LOCATED):
        return None
    return found["scheme"], found["host"].lower() + (found["port"] or ""), found["path"]


@_once
def _folded(text: str) -> str:
    """Return ``text`` with its host in lower case, and its path up to a ref as well where the host ignores case."""
    # What cannot be taken apart for sure is compared as it is, letter by letter.
    found = _FOLDABLE.fullmatch(text)
    if found is None:
        return text
    host, path = found["host"].lower() + (found["port"] or ""), found["path"]
    return found["scheme"] + host + (path.lower() if ignores_case(host) else path) + (found["rest"] or "")


def _lower_before_ref(path: str) -> str:
    # A ref's letters count everywhere: git keeps ``Main`` and ``main`` apart.
    name, at, ref = path.partition("@")
    return name.lower() + at + ref


@_once
def _is_named(pattern: str, identity: str) -> bool:
    # Looked through first, so that no pattern, however loose, matches a name that reads in two ways.
    return not _AMBIGUOUS_IDENTITY.search(identity) and _fullmatch(pattern, identity)


@_once
def _translated(pattern: str, wildcards: tuple[str, str, str]) -> str:
    """Return the regular expression of a pattern: wildcards become what they match, text between them stands for itself."""
    one, many, beyond = wildcards
    expressions = {"*": one, "**": many}
    parts = _TOKEN.split(pattern)
    matched = "".join(expressions.get(part) or re.escape(_literal(part)) for part in parts)
    return matched + (beyond if parts[-2:] == ["**", ""] else "")


def _fullmatch(pattern: str, text: str) -> bool:
    # RE2's ``.`` takes no line break, but a character class may; no identity, ref or path has one.
    return "\n" not in text and _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    # RE2 would write to standard error, where Ratify looks for the result as well.
    options.log_errors = False
    # A pattern of 2 KiB can ask for gigabytes of states (``(a{1000}){1000}``); RE2 refuses it at this many bytes.
    options.max_mem = 4 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        # google-re2 gives the reason in bytes.
        detail = error.args[0] if error.args else error
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise PatternError(text) from error
