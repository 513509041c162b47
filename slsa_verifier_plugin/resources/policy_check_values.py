"""Values of a Verifier's parameters that fit the schema and that no summary can have: near misses, and patterns of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slsa_verifier_plugin.model.levels import Levels
from slsa_verifier_plugin.policy.hints import differences_of, near_level, near_ref_kind, usual_form
from slsa_verifier_plugin.policy.matching import RefPattern, UriPattern
from slsa_verifier_plugin.policy.trusted import BUILT_IN_VERIFIERS, DEFAULT_VERIFIER_IDS
from slsa_verifier_plugin.resources.documents import Key
from slsa_verifier_plugin.text import plain, quoted

Remark = tuple[list[Key], str, str]
"""Where in the parameters, what is wrong, and what to do."""


def unmatchable(config: Mapping[str, Any]) -> Iterator[Remark]:
    """Yield what can match no summary. Of what does not fit the schema nothing is said here.

    Args:
        config: the parameters as they are written, whatever else is wrong with them.
    """
    for path, name in _texts(config, "expectedVerifiedLevels"):
        if near := near_level(name):
            yield path, f"no summary states {quoted(name)}, as far as is known here", f"is {near} meant?"
        elif not _is_within_caps(name, config):
            yield (
                path,
                f"maxLevel keeps every signer in trustedVerifiers from attesting {quoted(name)}: with a cap only the levels up "
                "to it count, and no controls",
                "raise maxLevel, or lower expectedVerifiedLevels",
            )
    is_known = _by_known_workflow(config)
    for path, uri in _texts(config, "expectedResourceUri"):
        pattern = UriPattern(uri)
        if not pattern.can_match:
            yield (
                path,
                f"{quoted(uri)} matches no resourceUri: wildcards match the names in a URI, and neither its scheme, nor across "
                "the host, nor in a URI with a query, a fragment, a user name or escapes",
                "write host and path, such as git+https://github.com/OWNER/*; docs/parameters.md has all of it",
            )
        elif (
            is_known
            and uri != "**"
            and (form := usual_form(uri)) != uri
            and (differs := differences_of(uri, form))
        ):
            yield (
                path,
                f"{quoted(uri)} matches no resourceUri of the SLSA source workflow: it differs only in {' and '.join(differs)}",
                f"write {plain(form, 512)}",
            )
    for path, ref in _texts(config, "expectedSourceRefs"):
        near_kind = near_ref_kind(ref)
        if not RefPattern(ref).can_match:
            yield (
                path,
                f"{quoted(ref)} matches no ref: git allows no such name",
                "write refs/heads/NAME or refs/tags/NAME",
            )
        elif near_kind:
            yield path, f"{quoted(ref)} is neither a branch nor a tag", f"is {near_kind} meant?"


def _texts(config: Mapping[str, Any], name: str) -> Iterator[tuple[list[Key], str]]:
    value = config.get(name)
    if isinstance(value, str):
        yield [name], value
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, str):
            yield [name, index], item


def _is_within_caps(name: str, config: Mapping[str, Any]) -> bool:
    """Return True where a signer may attest ``name``, or where that is not known, of what does not fit the schema."""
    entries, ids = config.get("trustedVerifiers"), [text for _, text in _texts(config, "expectedVerifierId")]
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return True
    known = [entry for entry in entries if not ids or entry.get("verifierId") in ids]
    return not known or any(
        not Levels.of([name]).capped([cap for _, cap in _texts(entry, "maxLevel")]).missing([name])
        for entry in known
    )


def _by_known_workflow(config: Mapping[str, Any]) -> bool:
    """Return True where only the built-in table's workflow signs, of which is known how it writes a repository."""
    ids = [text for _, text in _texts(config, "expectedVerifierId")] or DEFAULT_VERIFIER_IDS
    return "trustedVerifiers" not in config and {signer.id for signer in BUILT_IN_VERIFIERS} >= set(ids)
