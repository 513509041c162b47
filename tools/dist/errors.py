"""The one error of these tools."""


class BuildError(Exception):
    """Something that the build needs is missing or wrong; the message says what, and what to do."""
