"""Simulators of the real peers, and what regenerates ``testdata``."""
