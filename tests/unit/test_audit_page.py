"""The audit's page as a text: well formed, silent, whole, and told what makes it evidence."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.cli.reason_page import entries
from slsa_verifier_plugin.cli.render.render_html import MAX_BARS, MAX_PLACES, page_of
from slsa_verifier_plugin.errors import Reason
from tests.support.audit_page import FINGERPRINT, row, summary

ROWS = [row(number) for number in range(20)]


class Tags(HTMLParser):
    """Checks that every element is closed, and keeps attributes that load something, the text, and what stands in footers."""

    VOID = frozenset({"meta", "br", "input", "rect", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loading: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.loading += [
            f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "style", "onclick", "srcset")
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    return tags


def test_the_page_is_well_formed_and_refers_to_nothing() -> None:
    text = "".join(page_of(summary(ROWS), ROWS))
    tags = read(text)
    assert tags.open == []
    assert tags.loading == []
    assert "http://" not in re.sub(r"git\+https://\S+", "", text)


def test_the_foot_makes_it_evidence() -> None:
    text = read("".join(page_of(summary(ROWS), ROWS))).text
    foot = text[text.index("What this is evidence of") :]
    for fact in (
        FINGERPRINT,
        "slsa-verifier-plugin audit --policy verifier.yaml --pods - --format html -o report.html",
        "Pods on standard input",
        "public-good of 2025-09-23, sha256:" + "ab" * 32,
        "expectedVerifiedLevelsSLSA_SOURCE_LEVEL_2",
        # A pattern's braces are shown as they are: another pattern would be another policy.
        "trustedVerifiers[0].identity^https://github.com/[a-z]{3,9}/x$",
        "2026-01-15T09:30:00Z",
    ):
        assert fact in foot


def test_a_page_of_nothing_and_one_of_very_many_namespaces() -> None:
    empty = read("".join(page_of(summary([]), []))).text
    assert "0 images in 0 places" in empty
    assert "Highest level by namespace" not in empty
    many = [replace(ROWS[0], image=f"a{n}", uses=(Use(f"a{n}", f"ns{n}"),)) for n in range(300)]
    text = "".join(page_of(summary(many), many))
    assert text.count('class="bar"') == 300
    assert f"{300 - MAX_BARS} more namespaces" in text


def test_an_image_that_all_the_cluster_uses_names_some_places_and_counts_the_others() -> None:
    uses = tuple(Use("a:1", f"ns{n}", f"Deployment/d{n}") for n in range(1000))
    text = read("".join(page_of(summary([replace(ROWS[0], uses=uses)]), [replace(ROWS[0], uses=uses)]))).text
    assert text.count("/Deployment/d") == MAX_PLACES
    assert "and 800 more; the JSON has them all" in text
    assert "ns0, ns1, ns10, ns100, ns101, ns102, ns103, ns104 and 992 more" in text


def test_each_reason_has_a_meaning_and_a_remedy_of_one_sentence() -> None:
    assert [code for code in entries() if not code.isdecimal()] == list(Reason)
    for reason in Reason:
        assert re.fullmatch(r"[A-Z].*\.", entries()[reason].meaning)
        assert re.fullmatch(r"[A-Z].*\.", entries()[reason].in_short)
