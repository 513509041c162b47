"""End-to-end tests: the real Ratify, real registries and real clients around the installed plugin."""
