"""Builds what is released: the one-file plugin with its bill of materials, the wheel and the source archive."""
