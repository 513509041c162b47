"""Bytes in, frozen values or a typed error out: no I/O, no clock."""
