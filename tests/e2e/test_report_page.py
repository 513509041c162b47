"""The audit's page in Chromium once more, where the end-to-end tests have installed it: there, none of it may be skipped."""

from __future__ import annotations

from tests.integration.test_cli_report_page import (  # noqa: F401  # pytest collects what is imported
    opened,
    report,
    test_a_click_filters_and_another_takes_it_back,
    test_a_click_sorts_the_rows,
    test_a_row_opens_to_its_steps_remedy_and_digests,
    test_at_no_width_is_text_cut_or_a_decision_out_of_sight,
    test_axe_finds_no_serious_issue,
    test_filters_and_words_narrow_together,
    test_many_images_stay_usable,
    test_nothing_is_asked_of_the_network_and_the_console_is_silent,
    test_print_loses_nothing,
    test_the_chart_is_drawn,
    test_the_policy_of_the_page_itself_forbids_what_the_escaping_might_miss,
    test_the_screenshots_in_the_docs,
    test_what_an_attestation_says_cannot_run,
    test_what_is_measured_can_fail,
)
