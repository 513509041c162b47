"""Connections to foreign servers: every wait ends, and goes only where it may. Used by registries, token servers and TUF."""
