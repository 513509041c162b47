"""Which images an audit is about: from arguments, lists, running Pods, manifests and registries."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slsa_verifier_plugin.audit.manifest_images import images_in, mentioned_in, names_more
from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import object_at
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.reference_slips import has_user, slip
from slsa_verifier_plugin.resources.documents import objects_in, parse_documents
from slsa_verifier_plugin.resources.kubectl import run_program
from slsa_verifier_plugin.resources.manifest_files import expanded, files_below, has_kustomization
from slsa_verifier_plugin.resources.named_files import read_file
from slsa_verifier_plugin.text import quoted

MAX_LIST = 1_000_000
"""Lines of a list of images."""
KUSTOMIZE_SECONDS = 120
LISTING_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Use:
    """One image in one place: what it is called there, where it runs or is meant to, and where that is written.

    ``runs`` is False where a variable or an argument names it and no container does.
    """

    image: str
    namespace: str = ""
    workload: str = ""
    source: str = ""
    line: int = 0
    runs: bool = True


class Catalog(Protocol):
    """A registry that can be listed; implemented by ``registry.client.RegistryStore``."""

    def repositories(self, registry: str, deadline: Deadline) -> list[str]:
        """Return the registry's repositories."""

    def tags(self, image: Reference, deadline: Deadline) -> list[str]:
        """Return a repository's tags."""


def storable(use: Use) -> Use:
    """Return ``use`` with escapes for characters that UTF-8 cannot hold, such as a lone surrogate from a file's name or JSON.

    No valid image name has one, so such an image is denied.
    """
    image, namespace, workload, source = (
        text.encode("utf-8", "backslashreplace").decode()
        for text in (use.image, use.namespace, use.workload, use.source)
    )
    return Use(image, namespace, workload, source, use.line)


def from_arguments(images: Iterable[str]) -> Iterator[Use]:
    """Yield the images that a person named.

    Raises:
        UsageError: one is no image reference.
    """
    for image in images:
        yield Use(_checked(image, "the argument"))


def from_list(path: str) -> Iterator[Use]:
    """Yield the images in a file, one a line; empty lines and those that begin with # are passed over.

    Raises:
        UsageError: it cannot be read, or a line is no image reference.
    """
    # Read whole: a list of a million names has some 80 MiB at most, and is bounded by read_file.
    content, source, _ = read_file(path)
    try:
        # Not with "replace": a name with another character in it is another image.
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: not UTF-8 at byte {error.start}") from error
    if len(lines) > MAX_LIST:
        raise UsageError(f"{source}: more than {MAX_LIST} lines")
    for number, line in enumerate(lines, 1):
        image = line.strip()
        # Comments, as people write them into such lists.
        if image and not image.startswith("#"):
            yield Use(_checked(image, f"{source}:{number}"), source=source, line=number)


def from_manifests(path: str, unread: Counter[str]) -> Iterator[Use]:
    """Yield the images in Kubernetes manifests: a file, ``-``, a folder of them, a pattern, or a folder with a
    kustomization.

    Every object with containers or volumes of images counts, of whatever kind, and those of ``manifest_images.KNOWN_KINDS``.

    Args:
        path: the file, folder or pattern.
        unread: counts, by kind, the objects that name images in places that are not known here.

    Raises:
        UsageError: they cannot be read, or ``kubectl kustomize`` fails.
    """
    for name in expanded(path):
        if name != "-" and Path(name).is_dir():
            # Its files are patches and parts: read one by one they name images that nothing runs.
            if has_kustomization(name):
                yield from _manifests(_kustomized(Path(name)), name, unread)
                continue
            files = files_below(name)
        else:
            # A single file is read whatever its name ends with: somebody named it.
            files = [name]
        for file in files:
            content, source, _ = read_file(file)
            yield from _manifests(content, source, unread)


def from_registry(name: str, catalog: Catalog) -> Iterator[Use]:
    """Yield every tagged image of a registry (``host``), or of one repository in it (``host/repository``).

    Raises:
        UsageError: it is neither.
        VerifierError: the registry cannot be listed; most hosted ones list tags, but no repositories.
    """
    if not name:
        raise UsageError("the registry: its name is empty; name a host")
    # A host alone would be read as an image's name, so it is checked with a made-up repository behind it.
    try:
        reference = parse_image(name if "/" in name else f"{name}/repository")
    except UsageError as error:
        # An image's name is not what is expected here.
        said = (
            "it has a user name or password"
            if has_user(f"{name}/")
            else f"{quoted(name)} is none{slip(name)}"
        )
        raise UsageError(f"the registry: {said}; expected HOST, or HOST/REPOSITORY without a tag") from error
    # All its tags would be audited, and whoever named one believes that this one was.
    if reference.tag or reference.digest:
        raise UsageError(
            f"the registry: {quoted(name)} names one image; give it as IMAGE, or the repository alone"
        )
    # One limit for the whole list: a registry that sends its pages slowly must not hold an audit for ever.
    deadline = Deadline(LISTING_SECONDS)
    repositories = [] if "/" in name else catalog.repositories(name, deadline)
    # A host's name alone would be read as an image of Docker Hub.
    for full in [name] if "/" in name else [f"{name}/{item}" for item in repositories]:
        reference = Reference.parse(_checked(full, "the registry"))
        for tag in catalog.tags(reference, deadline):
            # Referrers' own fallback tags are no images.
            if not tag.startswith(("sha256-", "sha512-")):
                yield Use(f"{reference.name}:{tag}", source=full)


def _checked(image: str, where: str) -> str:
    try:
        # Checked here, where the line is known: later only the name would be left to find it by.
        parse_image(image)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return image


def _manifests(content: bytes, source: str, unread: Counter[str]) -> Iterator[Use]:
    documents = parse_documents(content, source)
    for document, path, value in ((one, *each) for one in documents for each in objects_in(one)):
        # A manifest may have anything at metadata: what is no mapping names nobody.
        metadata = object_at(value, "metadata")
        # An object that is created with a prefix alone (generateName) gets its name from the API server.
        workload = f"{value.get('kind', 'object')}/{metadata.get('name', metadata.get('generateName', ''))}"
        found = images_in(value)
        for place, image in found.items():
            # The line is what a person opens; a manifest of a hundred objects has one image wrong.
            position = document.position((*path, *place))
            yield Use(image, str(metadata.get("namespace", "")), workload, document.source, position.line)
        yield from (Use(image, runs=False) for image in mentioned_in(value))
        # Counted and not refused: one custom resource must not keep a cluster from being audited.
        if names_more(value, found):
            unread[f"{value.get('kind', 'object')} of {value.get('apiVersion', 'no apiVersion')}"] += 1


def _kustomized(folder: Path) -> bytes:
    # kubectl first: it is there wherever somebody audits a cluster, and its kustomize is the one that applies.
    program = shutil.which("kubectl") or shutil.which("kustomize")
    if program is None:
        raise UsageError(
            f"{quoted(str(folder))} is a kustomization; it needs kubectl or kustomize on the PATH"
        )
    # kubectl has it as a subcommand, the program of its own calls it build.
    build = "kustomize" if program.endswith("kubectl") else "build"
    remedy = "check the kustomization, and what it fetches"
    return run_program([program, build, str(folder)], os.environ, KUSTOMIZE_SECONDS, remedy)
