"""The audit's page in Chromium once more, where the end-to-end tests have installed it: there, none of it may be skipped."""

from __future__ import annotations

from tests.integration.test_cli_report_page import (  # noqa: F401  # pytest collects what is imported
    opened,
    report,
    test_a_click_sorts_the_table,
    test_axe_finds_no_serious_issue,
    test_it_reads_without_scripts_and_in_print,
    test_no_width_needs_sideways_scrolling_of_the_whole,
    test_nothing_is_asked_of_the_network_and_the_console_is_silent,
    test_the_chart_is_drawn,
    test_the_filter_narrows_the_table,
    test_the_policy_of_the_page_itself_forbids_what_the_escaping_might_miss,
    test_the_screenshot_in_the_docs,
    test_what_an_attestation_says_cannot_run,
)
