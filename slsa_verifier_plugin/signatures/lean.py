"""Imports sigstore without what only signers need, which is more than half of the time that importing it takes.

- ``securesystemslib.signer``, which tuf imports, imports the key services of every cloud wherever their packages are installed,
  and works without them. While it is imported they are absent.
- ``sigstore.oidc`` fetches identities for signers. Fulcio's client, which ``sigstore.models`` imports, names one class of it in
  annotations.
- ``rekor_types`` builds models for eleven kinds of log entry. sigstore reads two of them; of the others no entry is valid here.

Only the thread that imports sees any of this, and only until it has imported: whoever imports botocore or ``sigstore.oidc``
afterwards, or in another thread meanwhile, gets the real one. With a version of the libraries that does not work without what
was left out, everything is imported as usual.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

_ABSENT = frozenset(("azure", "boto3", "botocore", "google", "google.cloud", "hvac", "keylet", "pkcs11"))
"""What ``securesystemslib.signer`` tries to import, each with ``except ImportError``."""
_SIGNERS = "securesystemslib.signer."
_OIDC = "sigstore.oidc"
_KINDS = frozenset(
    f"rekor_types._internal.{kind}"
    for kind in ("alpine", "cose", "helm", "intoto", "jar", "rekord", "rfc3161", "rpm", "tuf")
)
_KINDS_VERSION = "4.5.1"
"""The version of sigstore that pins rekor_types 0.0.18, whose kinds are known not to use each other's models. With another they
are imported whole. ``importlib.metadata`` would tell rekor_types' own, after as long as the models take."""
_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
"""pydantic reads what each installed package says of itself to find plugins, of which nobody here has any."""
_LIBRARIES = ("rekor_types", "securesystemslib", "sigstore", "sigstore_models", "tuf")


def load(name: str) -> None:
    """Import a module of sigstore, and what verifying needs of what it imports.

    Args:
        name: the module; nothing happens where it is imported already.

    Raises:
        ImportError: it cannot be imported, not even as usual.
    """
    if name in sys.modules:
        return
    before = frozenset(sys.modules)
    finder = _Finder(threading.get_ident())
    with _without_collector(), _without_plugins():
        # In front of the finders that would find the real modules.
        sys.meta_path.insert(0, finder)
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 (whatever a version that needs what is absent does about it)
            _forget(before)
        finally:
            sys.meta_path.remove(finder)
            finder.take_back()
        # A look-up where the import above succeeded, the usual import of everything where it did not.
        importlib.import_module(name)


class _Finder(MetaPathFinder, Loader):
    """Says "not installed" of what only signers need, and has stand-ins for what is imported by name."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._made: list[ModuleType] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # Another thread may import botocore at this moment, for a credential provider: it gets the real one.
        if threading.get_ident() != self._thread:
            return None
        if fullname in _ABSENT and _asked_by(_SIGNERS):
            raise ModuleNotFoundError(f"{fullname} is left out", name=fullname)
        # The version is asked for late: sigstore itself is imported by then, and tells it.
        version = getattr(sys.modules.get("sigstore"), "__version__", "")
        if fullname == _OIDC or (fullname in _KINDS and version == _KINDS_VERSION):
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _StandIn(spec.name)
        self._made.append(module)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty: what it is asked for is made as it is asked for."""

    def take_back(self) -> None:
        """Let whoever imports a stand-in's name from now on have the real module."""
        for module in self._made:
            # Only a stand-in of ours: the real module may be there by now.
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]
            # Importing a submodule also sets it as an attribute of its package.
            above, _, name = module.__name__.rpartition(".")
            parent = sys.modules.get(above)
            if parent is not None and vars(parent).get(name) is module:
                delattr(parent, name)


class _StandIn(ModuleType):
    """A module whose classes are named in annotations only, or are models of a kind of log entry that is not read."""

    def __getattr__(self, name: str) -> type:
        # The import system asks for ``__path__`` and the like, which a plain module does not have.
        if name.startswith("__"):
            raise AttributeError(name)
        return _NoEntry


class _NoEntry:
    """A class that nothing meets: pydantic asks a model for its schema by this method."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_refuse)


def _refuse(value: object) -> NoReturn:
    raise ValueError("a kind of log entry that is not read here")


def _asked_by(prefix: str) -> bool:
    """Return True where the innermost frame that is not of the import system is of a module with this prefix."""
    # Who imports decides: ``botocore`` is absent for securesystemslib's signers alone.
    # Two frames up is whoever called ``find_spec``.
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("importlib.") and frame.f_code.co_filename[:8] != "<frozen ":
            return str(name).startswith(prefix)
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _forget(before: frozenset[str]) -> None:
    """Forget what was imported of the libraries since ``before``, so that it is imported anew."""
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in _LIBRARIES:
            del sys.modules[name]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the collector from looking at each class and schema that is made again and again: a tenth of the time."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # It stays off where the caller had it off.
        if is_enabled:
            gc.enable()


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Keep pydantic from looking for plugins, unless somebody has said which it shall have."""
    if _PLUGINS in os.environ:
        yield
        return
    os.environ[_PLUGINS] = "__all__"
    try:
        yield
    finally:
        del os.environ[_PLUGINS]
