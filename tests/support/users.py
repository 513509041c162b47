"""Another user than the one that runs the tests."""

from __future__ import annotations

import os

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
OTHER_USER = 12345
