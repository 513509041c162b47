"""Files that lie beside the modules of this package, wherever those are: in a directory, or in an archive."""

from __future__ import annotations

import pkgutil


def carried(package: str, name: str) -> bytes:
    """Return the content of a file of a package.

    ``importlib.resources`` would do as well, but lists the whole archive for each file where there is one.

    Args:
        package: dotted name.
        name: the file's, with slashes.

    Raises:
        OSError: there is none.
    """
    # Where the package lies in an archive, a path beside ``__file__`` leads nowhere.
    content = pkgutil.get_data(package, name)
    if content is None:
        raise FileNotFoundError(name)
    return content
