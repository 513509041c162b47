"""Ratify verifier plugin that admits an image only if its source met its SLSA level."""

__version__ = "0.1.0"
