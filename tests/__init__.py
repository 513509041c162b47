"""Tests, and the support code that they share."""
