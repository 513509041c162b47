"""Remarks of a store: kept once, and each call's own."""

from __future__ import annotations

import threading

from slsa_verifier_plugin.registry.remarks import MAX_REMARKS, Remarks


def test_a_call_gets_its_own_remarks_also_those_that_others_made_before() -> None:
    remarks = Remarks()
    remarks.add("before")
    with remarks.of_this_call() as own:
        remarks.add("here")
        remarks.add("before")
        remarks.add("here")
        other = threading.Thread(target=remarks.add, args=("of another call",))
        other.start()
        other.join()
    remarks.add("after")
    assert list(own) == ["here", "before"]
    assert remarks.all() == ("before", "here", "of another call", "after")


def test_remarks_are_bounded_and_the_last_are_kept() -> None:
    remarks = Remarks()
    with remarks.of_this_call() as own:
        for number in range(MAX_REMARKS + 3):
            remarks.add(str(number))
    assert (len(own), len(remarks.all()), remarks.all()[-1]) == (
        MAX_REMARKS,
        MAX_REMARKS,
        str(MAX_REMARKS + 2),
    )
