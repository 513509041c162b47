"""What a violation of the parameters' schema says to people, instead of the words of the schema and of its library."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

from slsa_verifier_plugin.policy.hints import full_ref, near_level
from slsa_verifier_plugin.problem import Key, Problem
from slsa_verifier_plugin.text import nearest, plain, quoted


def explained(error: Any) -> list[Problem]:
    """Return a problem for each thing that a violation of the schema is about.

    Args:
        error: a ``jsonschema.ValidationError``.
    """
    if error.validator == "additionalProperties":
        return [_unknown(error, name) for name in sorted(_unknown_names(error))]
    # The library says only that no alternative fits; what is wrong stands in the errors of the alternatives.
    if error.validator == "oneOf":
        return _of_alternatives(error)
    # An empty text breaks minLength as well, which says it better than the pattern.
    if error.validator == "pattern" and not error.instance and error.schema.get("minLength"):
        return []
    return [_explain(error, tuple(error.absolute_path))]


def _explain(error: Any, where: tuple[Key, ...]) -> Problem:
    found = f"found {_found(error.instance)}"
    match error.validator:
        case "required":
            # The library reports each missing name by itself; this names them all, and the caller drops the repetitions.
            missing = [name for name in error.validator_value if name not in error.instance]
            return Problem(where, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} required")
        case "type" if where in _DURATIONS:
            return Problem(where, found, _A_DURATION)
        case "minimum" | "maximum":
            least = "least" if error.validator == "minimum" else "most"
            return Problem(where, found, f"a whole number of at {least} {error.validator_value}")
        case "type":
            # A list of one text was written without its brackets.
            alone = error.validator_value == "array" and isinstance(error.instance, str)
            remedy = f"write [{plain(error.instance)}]" if alone else ""
            return Problem(where, found, _article(error.validator_value), remedy)
        case "enum":
            words = [str(word) for word in error.validator_value]
            near = nearest(str(error.instance), words)
            remedy = f"is {near} meant?" if near else ""
            return Problem(where, found, f"one of {', '.join(words)}", remedy)
        case "minItems" | "minLength":
            return Problem(where, "must not be empty")
        # A YAML block scalar ends with a line break, which nobody sees.
        case "pattern" if error.instance.endswith("\n"):
            return Problem(where, f"{found}, which ends with a line break", remedy="write it on one line")
        # For the built-in workflow, which is on GitHub: commits have 40 digits there. Entries of one's own may have 64
        # (``_FORMS``).
        case "pattern" if where[0] == "allowedWorkflowDigests":
            return Problem(where, found, "a full commit id: 40 hexadecimal digits in lower case")
        case "pattern" if where[0] == "expectedSourceRefs":
            # The short names of a branch and a tag can be the same.
            return Problem(where, found, "a whole ref", f"is {plain(full_ref(error.instance))} meant?")
        case "pattern" if where in _DURATIONS:
            # Go's durations, which Kubernetes has too, know no days.
            days = re.fullmatch(r"([0-9]{1,5})d", error.instance)
            return Problem(where, found, _A_DURATION, f"is {int(days[1]) * 24}h meant?" if days else "")
        case "pattern":
            # The last name on the way: an item of a list has the form that its list asks for.
            leaf = next(key for key in reversed(where) if isinstance(key, str))
            near = near_level(error.instance) if leaf in ("expectedVerifiedLevels", "maxLevel") else ""
            return Problem(where, found, _FORMS.get(leaf, _A_TEXT), f"is {near} meant?" if near else "")
        # A keyword that has no words here: the schema's own are better than none.
        case _:
            return Problem(where, found, f"{error.validator} {plain(str(error.validator_value))}")


_DURATIONS = (("timeout",), ("maxAge",))
_A_DURATION = "a duration such as 4s, 500ms or 720h"
_A_TEXT = "a text without blanks and control characters"
_FORMS = {
    "expectedVerifiedLevels": "a level or control, of letters, digits and _.:/-",
    "maxLevel": "a level of a track such as SLSA_SOURCE_LEVEL_3",
    "allowedWorkflowDigests": "a full commit id: 40 or 64 hexadecimal digits in lower case",
    "identityPattern": "a regular expression without control characters",
    "tufUrl": "an http or https URL without blanks, user name, query and fragment",
}
"""What the schema's patterns say, in words, by the parameter that they are for."""


def _found(value: Any) -> str:
    """Return a value as a message shows it: only a text is in quotes."""
    return quoted(value, 80) if isinstance(value, str) else plain(json.dumps(value, default=str), 80)


def _unknown_names(error: Any) -> set[str]:
    """Return the members that an object has and its schema does not know."""
    is_about_names = error.validator == "additionalProperties"
    return set(error.instance) - set(error.schema["properties"]) if is_about_names else set()


def _unknown(error: Any, name: str) -> Problem:
    known = sorted(error.schema["properties"])
    near = nearest(name, known, 0.5)
    remedy = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
    return Problem((*error.absolute_path, name), "unknown parameter", remedy=remedy)


def _of_alternatives(error: Any) -> list[Problem]:
    """Return what is wrong with a value that fits none (or several) of a schema's alternatives.

    Of the alternatives for a value of this type, the one that knows most of its members says what is wrong. Where there is none
    for the type, the problem names them all.
    """
    where = tuple(error.absolute_path)
    if isinstance(error.instance, dict) and {"verifierId", "builderId"} & set(error.instance):
        # The alternatives of a signer demand and forbid members, which reads as a riddle.
        expected = "either issuer with identity or identityPattern, or publicKey alone"
        found = ", ".join(sorted(map(plain, error.instance)))
        return [Problem(where, f"a signer has {expected}; found {found}")]
    alternatives = defaultdict(list)
    # The way through the schema begins with the alternative's number, so it tells which errors belong together.
    for item in error.context:
        alternatives[item.relative_schema_path[0]].append(item)
    fitting = [items for items in alternatives.values() if not any(map(_is_of_other_type, items))]
    # Of a type that no alternative takes, say a number.
    if not fitting:
        found = f"found {_found(error.instance)}"
        if where[0] != "trustedRoot":
            return [Problem(where, found, _ONE_OR_MANY)]
        name = str(error.instance)
        # The usual slip beside a misspelt name: a file as it is written elsewhere.
        remedy = f"write path: {plain(name)} below trustedRoot" if "/" in name else ""
        if near := nearest(name, ("public-good", "staging")):
            remedy = f"is {near} meant?"
        return [Problem(where, found, _A_ROOT, remedy)]
    closest = min(fitting, key=lambda items: sum(len(_unknown_names(item)) for item in items))
    return [problem for item in closest for problem in explained(item)]


_A_ROOT = "public-good, staging, an object with path, an object with tufUrl and rootPath, or a list of those"
_ONE_OR_MANY = "a non-empty string or a non-empty list of strings"


def _is_of_other_type(error: Any) -> bool:
    """Return True for an error about the value's own type, and not about something inside it."""
    return error.validator in ("type", "enum") and not error.relative_path


def _article(name: str | list[str]) -> str:
    if isinstance(name, list):
        return " or ".join(_article(item) for item in name)
    named = {
        "array": "a list",
        "object": "an object",
        "integer": "a whole number",
        "boolean": "true or false",
    }
    return named.get(name, f"a {name}")
