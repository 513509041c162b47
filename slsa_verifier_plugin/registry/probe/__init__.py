"""Looks at a registry step by step: the engine of ``registry check``."""
