"""The catalog of conformance cases, by what they are about. ``generate.py`` writes them down as folders."""
