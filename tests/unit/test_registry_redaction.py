"""Secrets in text: hidden in messages that pass, withheld with what a server explains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.network.faults import StatusError
from slsa_verifier_plugin.registry.redaction import MAX_SECRETS, SHORTEST_SECRET, Redactor, explained

SECRET = "planted-Secret-0123456789"


def guarded(redactor: Redactor, error: RegistryError) -> RegistryError:
    with pytest.raises(RegistryError) as caught, redactor.guard():
        raise error
    return caught.value


def test_a_secret_is_hidden_in_any_case_wherever_it_stands() -> None:
    text = f"https://{SECRET.lower()}.example answered {SECRET}"
    assert Redactor([SECRET]).hide(text) == "https://(secret).example answered (secret)"


def test_what_occurs_in_ordinary_words_is_left_alone() -> None:
    word = "x" * (SHORTEST_SECRET - 1)
    assert Redactor([word, ""]).hide(f"a {word} b") == f"a {word} b"


def test_an_error_that_passes_loses_the_secret_and_keeps_what_it_says() -> None:
    before = RegistryError(f"no answer from {SECRET}", reason=Reason.REGISTRY_UNREACHABLE, transient=True)
    after = guarded(Redactor([SECRET]), before)
    assert (after.message, after.reason, after.transient) == (
        "no answer from (secret)",
        Reason.REGISTRY_UNREACHABLE,
        True,
    )
    assert after.__cause__ is None


def test_an_error_without_a_secret_passes_as_it_is() -> None:
    error = StatusError("answered HTTP 503", transient=True)
    error.retry_after = "7"
    assert guarded(Redactor([SECRET]), error) is error


def test_the_oldest_secrets_are_forgotten_first_and_each_counts_once() -> None:
    secrets = [f"planted-secret-number-{number:03}" for number in range(MAX_SECRETS + 1)]
    redactor = Redactor(secrets)
    redactor.add(*secrets[1:])
    assert redactor.hide(secrets[0]) == secrets[0]
    assert {redactor.hide(secret) for secret in secrets[1:]} == {"(secret)"}


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_surrounds_it_a_secret_is_never_left(before: str, after: str) -> None:
    assert SECRET.lower() not in Redactor([SECRET]).hide(f"{before}{SECRET}{after}").lower()
    assert explained(f"x{before}{SECRET}{after}", [SECRET]) == (
        "an explanation that repeats a secret and is not shown"
    )
