"""Tests of the launcher: unit tests in C, and what the tests of the whole program share."""
