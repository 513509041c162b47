"""Audits of many images: where they come from, what came of each, and what that amounts to."""
