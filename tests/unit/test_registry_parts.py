"""The small parts of the registry room: the content cache, retries, pages, wording."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.transport import Reply
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.memory_cache import ENTRY_OVERHEAD_BYTES, ContentCache
from slsa_verifier_plugin.registry.pages import next_link, pages_of
from slsa_verifier_plugin.registry.redaction import Redactor
from slsa_verifier_plugin.registry.retries import retried, seconds_of
from tests.support.waiting import at_once

FAILED = RegistryError("failed", transient=True)


def content(number: int, size: int = 1000) -> tuple[Digest, bytes]:
    text = bytes([number % 256]) * size
    return Digest.of(text), text


def test_the_content_cache_keeps_its_budget_and_drops_what_was_used_least_recently() -> None:
    cache = ContentCache(8 * (1000 + ENTRY_OVERHEAD_BYTES))
    entries = [content(number) for number in range(9)]
    for digest, text in entries[:8]:
        cache.put(digest, text)
    assert cache.get(entries[0][0]) == entries[0][1]
    cache.put(*entries[8])
    assert cache.get(entries[1][0]) is None
    assert cache.get(entries[0][0]) == entries[0][1]
    assert len(cache) == 8
    assert cache.usage()["bytes"] == 8 * (1000 + ENTRY_OVERHEAD_BYTES)
    cache.clear()
    assert (len(cache), cache.usage()["bytes"]) == (0, 0)


def test_the_content_cache_does_not_keep_what_would_push_out_everything() -> None:
    cache = ContentCache(4000)
    cache.put(*content(1, 1000))
    assert len(cache) == 0


def test_the_content_cache_counts_an_entry_once() -> None:
    cache = ContentCache()
    for _ in range(3):
        cache.put(*content(1))
    assert cache.usage()["bytes"] == 1000 + ENTRY_OVERHEAD_BYTES


def test_the_content_cache_holds_under_many_threads() -> None:
    cache = ContentCache(20 * 1512)

    def work(number: int) -> None:
        for step in range(300):
            digest, text = content(number * 7 + step)
            cache.put(digest, text)
            assert cache.get(digest) in (None, text)

    at_once(16, work)
    assert cache.usage()["bytes"] == len(cache) * 1512 <= 20 * 1512


def retry(
    error: RegistryError, waits: list[float], seconds: float = 60, most: int = limits.MAX_ATTEMPTS
) -> None:
    """Have an operation fail with ``error`` at each attempt, and take note of the waits."""

    def attempt() -> None:
        raise error

    retried(attempt, Deadline(seconds), most, waits.append)


def test_retries_wait_longer_each_time_and_end() -> None:
    waits: list[float] = []
    with pytest.raises(RegistryError):
        retry(FAILED, waits)
    first = limits.FIRST_BACKOFF_SECONDS
    assert len(waits) == limits.MAX_ATTEMPTS - 1
    for number, wait in enumerate(waits):
        assert first * 2**number <= wait <= first * 2**number * 1.5


def asking(error: RegistryError, retry_after: str) -> RegistryError:
    """Return ``error`` as that of an answer with a ``Retry-After``."""
    asked = faults.StatusError(error.message, transient=error.transient)
    asked.retry_after = retry_after
    return asked


def test_the_attempts_of_one_operation_are_counted() -> None:
    waits: list[float] = []
    made: list[int] = []

    def attempt() -> str:
        made.append(1)
        if len(made) < 3:
            raise FAILED
        return "done"

    assert retried(attempt, Deadline(60), sleep=waits.append) == "done"
    assert (len(made), len(waits)) == (3, 2)
    made.clear()
    with pytest.raises(RegistryError):
        retried(attempt, Deadline(60), 1, waits.append)
    assert (len(made), len(waits)) == (1, 2)


@pytest.mark.parametrize(
    ("error", "seconds", "retry_after"),
    [(RegistryError("lasting"), 60, ""), (FAILED, 0.05, ""), (FAILED, 60, "61"), (FAILED, 0, "")],
)
def test_retries_do_not_wait_for_nothing(error: RegistryError, seconds: float, retry_after: str) -> None:
    waits: list[float] = []
    with pytest.raises(RegistryError) as caught:
        retry(asking(error, retry_after), waits, seconds)
    assert caught.value.message == error.message
    assert waits == []


def test_retry_after_is_waited_for_as_it_says() -> None:
    waits: list[float] = []
    with pytest.raises(RegistryError):
        retry(asking(FAILED, "7"), waits, most=2)
    assert waits == [7.0]


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "٣", "Mon, 99 Foo 2020", "1e3"])
def test_an_unreadable_retry_after_says_nothing(text: str) -> None:
    assert seconds_of(text) is None


def test_a_retry_after_may_be_a_date() -> None:
    later = seconds_of(email.utils.formatdate(time.time() + 30, usegmt=True))
    assert later is not None
    assert 28 <= later <= 31
    assert seconds_of(email.utils.formatdate(time.time() - 30, usegmt=True)) == 0.0


@given(st.text(max_size=40))
def test_any_retry_after_is_read(text: str) -> None:
    found = seconds_of(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", None),
        ('</v2/a?n=1>; rel="next"', "/v2/a?n=1"),
        ("</v2/a?n=1>; rel=next", "/v2/a?n=1"),
        ('</v2/a?n=1>;title="x, y";REL="Next"', "/v2/a?n=1"),
        ('</first>; rel="first", </next>; rel="last next"', "/next"),
        ('</v2/a>; rel="prev"', None),
        ('</v2/a>; notrel="next"', None),
        ("</v2/a>", None),
        ("/v2/a; rel=next", None),
        ('<<<>>>; rel="next"', None),
        ('</v2/a?x=1;y=2>; rel="next"', "/v2/a?x=1;y=2"),
        ('</v2/a?last=b,c>; rel="next"', "/v2/a?last=b,c"),
    ],
)
def test_links(header: str, target: str | None) -> None:
    assert next_link(header) == target


def test_long_links_take_no_time() -> None:
    begin = time.thread_time()
    for piece in ("<", "<a>;", '<a>; rel="', "<a>; rel=x ", ";" * 50 + "<a>"):
        next_link(piece * 100_000)
    assert time.thread_time() - begin < 1


@dataclass
class Page:
    """A page's answer, of which ``pages_of`` looks at the link alone."""

    link: str

    def header(self, name: str) -> str:
        assert name == "Link"
        return self.link


FIRST = "https://registry.example/v2/a/tags/list"


def pages(*links: str, limit: int = 3) -> list[str]:
    """Return the URLs of the pages that are asked for, where each page has the next of ``links``."""
    asked: list[str] = []

    def ask(url: str) -> Reply:
        asked.append(url)
        return cast(Reply, Page(links[len(asked) - 1]))

    assert len(list(pages_of(FIRST, limit, "listing", ask))) == len(asked)
    return asked


def test_pages_lead_on_within_their_host() -> None:
    assert pages("") == [FIRST]
    assert pages('<?last=1>; rel="next"', "") == [FIRST, f"{FIRST}?last=1"]
    assert len(pages('<?last=1>; rel="next"', '<?last=2>; rel="next"', "")) == 3


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("<https://other.example/>", Reason.REGISTRY_INVALID_RESPONSE),
        ("<http://registry.example/>", Reason.REGISTRY_INVALID_RESPONSE),
        ("<https://registry.example:444/>", Reason.REGISTRY_INVALID_RESPONSE),
        ("<https://user@registry.example/>", Reason.REGISTRY_INVALID_RESPONSE),
        ("<https://[/>", Reason.REGISTRY_INVALID_RESPONSE),
        ("<?last=1>", Reason.REGISTRY_INVALID_RESPONSE),
        ("<?last=2>", Reason.LIMIT_EXCEEDED),
    ],
)
def test_links_that_lead_elsewhere_or_on_for_ever_are_refused(link: str, reason: Reason) -> None:
    with pytest.raises(RegistryError) as caught:
        pages('<?last=1>; rel="next"', f'{link}; rel="next"', limit=2)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("status", "reason", "transient"),
    [
        (400, Reason.REGISTRY_ERROR, False),
        (401, Reason.REGISTRY_UNAUTHORIZED, False),
        (403, Reason.REGISTRY_FORBIDDEN, False),
        (404, Reason.REGISTRY_NOT_FOUND, False),
        (407, Reason.REGISTRY_UNREACHABLE, False),
        (408, Reason.REGISTRY_ERROR, True),
        (429, Reason.REGISTRY_THROTTLED, True),
        (500, Reason.REGISTRY_ERROR, True),
        (501, Reason.REGISTRY_ERROR, False),
        (503, Reason.REGISTRY_ERROR, True),
    ],
)
def test_every_status_has_its_reason(status: int, reason: Reason, transient: bool) -> None:
    url = "https://user:planted@registry.example/v2/planted?token=planted#planted"
    error = faults.status_error("fetching x", url, status, ("UNKNOWN", "planted"))
    assert (error.reason, error.transient) == (reason, transient)
    assert f"https://registry.example answered HTTP {status} (UNKNOWN)" in error.message
    assert "planted" not in error.message
    assert ("trying again may help" in error.message) is transient


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b'{"errors":[{"code":"DENIED","message":"planted"}]}', ("DENIED",)),
        (b'{"errors":[{"code":"planted"},{"code":7},"x"]}', ()),
        (b'{"errors":"planted"}', ()),
        (b"[]", ()),
        (b"<html>", ()),
        (b"", ()),
    ],
)
def test_only_known_codes_are_taken_from_an_error(body: bytes, codes: tuple[str, ...]) -> None:
    assert faults.error_codes(body) == codes


def test_secrets_are_hidden_in_any_case_and_short_ones_left_alone() -> None:
    assert Redactor(["planted-SECRET", "b"]).hide("a PLANTED-secret b") == "a (secret) b"
