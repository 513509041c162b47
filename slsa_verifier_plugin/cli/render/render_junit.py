"""JUnit's XML, which CI systems show as tests: an image is a test, a denial a failure, what is undecided an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from slsa_verifier_plugin.checking.status import PROGRAM, Decision
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from slsa_verifier_plugin.sinks import Xml, xml

INCOMPLETE = "INCOMPLETE"
"""The type of an error that stands for what was not looked at."""


def junit_of(
    cases: Iterable[ReportItem], decisions: Mapping[Decision, int], gaps: Sequence[str] = (), remark: str = ""
) -> Iterator[Xml]:
    """Yield the parts of the document, one case at a time. Its head has the counts, so the caller must know them already.

    Args:
        cases: the images.
        decisions: how many there are of each decision.
        gaps: what was not looked at, for people: each is an error, so that no CI system calls the whole a success.
        remark: for people, on the whole; no error.
    """
    total = sum(decisions.values()) + len(gaps)
    errors = decisions.get(Decision.UNDECIDED, 0) + len(gaps)
    counts = xml('tests="{}" failures="{}" errors="{}"', total, decisions.get(Decision.DENIED, 0), errors)
    yield xml('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {}>\n', counts)
    yield xml('<testsuite name="{}" {}>\n', PROGRAM, counts)
    for case in cases:
        yield _case(case)
    # After the images, so that a reader who stops at the first error has seen them all.
    for gap in gaps:
        yield _case(ReportItem("the whole", Decision.UNDECIDED, INCOMPLETE, gap))
    if remark:
        yield xml("<system-out>{}</system-out>\n", remark)
    yield xml("</testsuite>\n</testsuites>\n")


def _case(case: ReportItem) -> Xml:
    # CI systems group tests by classname; an image without a group goes under the program.
    name = xml('<testcase classname="{}" name="{}"', case.group or PROGRAM, case.image)
    # A test without a child has passed; JUnit has no word for success.
    if case.decision is Decision.ADMITTED:
        return xml("{}/>\n", name)
    said = (case.reason, case.message, case.message)
    # A failure is the image's, an error the checking's: CI systems count and colour them apart.
    if case.decision is Decision.DENIED:
        return xml('{}><failure type="{}" message="{}">{}</failure></testcase>\n', name, *said)
    return xml('{}><error type="{}" message="{}">{}</error></testcase>\n', name, *said)
