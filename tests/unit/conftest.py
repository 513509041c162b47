"""How the property tests run: bounded always; the same examples at every run where CI is set."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("developer", max_examples=60, deadline=None)
settings.register_profile(
    "ci",
    parent=settings.get_profile("developer"),
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
