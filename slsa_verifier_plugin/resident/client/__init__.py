"""The thin client of the resident verifier."""
