"""Answers to a registry's challenge: tokens, and what is kept of them."""
