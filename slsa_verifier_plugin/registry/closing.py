"""Base of what a ``with`` block closes at its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closeable:
    """Something with connections, which a ``with`` block closes at its end."""

    def close(self) -> None:
        """Close every connection that is not in use; new ones are opened when they are needed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
