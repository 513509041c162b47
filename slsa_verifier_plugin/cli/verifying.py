"""Does the work of ``verify`` once its options are read: reports on images or a file, and their text. Runs in any process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from slsa_verifier_plugin.checking.demands import Demands, decider_of, setup_of, store_settings
from slsa_verifier_plugin.checking.status import LISTING_SECONDS
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.session import ended
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resources.named_files import Read

if TYPE_CHECKING:
    from slsa_verifier_plugin.checking.decider import Decider
    from slsa_verifier_plugin.checking.reports import ImageReport
    from slsa_verifier_plugin.checking.stores import Store
    from slsa_verifier_plugin.service.service import Service


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is verified, where it comes from, and as of when. ``is_file``: the bundle is known to be a file."""

    images: tuple[str, ...]
    bundle: str | None = None
    layout: str | None = None
    at: datetime | None = None
    offline: bool = False
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """How reports are shown."""

    form: str
    verbose: bool
    painter: Painter


def reports_on(
    inputs: Inputs, demands: Demands, service: Service, read: Read, within: Deadline | None = None
) -> list[ImageReport]:
    """Return a report for each image, or the one on the attestation file.

    Args:
        inputs: what is verified.
        demands: what is expected of it.
        service: makes policies, signature verifiers and stores.
        read: reads the files that are named.
        within: ends all of it.

    Raises:
        UsageError: an option, the policy or a reference is wrong.
    """
    from slsa_verifier_plugin.checking.image_layout import LayoutStore
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.checking.own_artifact import read_artifact, reference_in, remark
    from slsa_verifier_plugin.checking.stores import UnreachableStore

    # Whichever is read first would take all of standard input.
    if inputs.bundle == "-" and demands.policy == "-":
        raise UsageError("standard input can be the policy or the bundle, not both")
    # All before the first is looked up: a slip in the last must not cost the time of the others.
    for image in inputs.images:
        parse_image(image)
    setup = setup_of(demands, read)
    store: Store | None = None
    reference = reference_in(inputs.bundle) if inputs.bundle is not None and not inputs.is_file else None
    # Before anything is asked: --offline promises that no network is used.
    if reference is not None and inputs.offline:
        raise UsageError(f"{reference} is in a registry; with --offline give --bundle FILE")
    # A check of a file that reached for a registry would be a defect; it fails then.
    if inputs.bundle is not None:
        store = UnreachableStore("a file is verified without a registry")
    elif inputs.layout is not None:
        store = LayoutStore(Path(inputs.layout))
    # With hints: a person waits for this, and wants to know where else an attestation hangs.
    checker = replace(decider_of(setup, demands, service, store), hints=True, within=within)
    if (at := inputs.at) is not None:
        checker = replace(checker, now=lambda: at)
    if inputs.bundle is not None:
        if reference is None:
            content, name, _ = read(inputs.bundle)
            return [_check_file(checker, content, name, inputs.images)]
        # The artifact comes from its registry; what checks it still has the store that refuses.
        own = service.store(store_settings(setup.store, demands.plain_http))
        found = read_artifact(own, reference, Deadline(LISTING_SECONDS))
        report = _check_file(checker, found.content, found.name, inputs.images)
        return [replace(report, notes=(*report.notes, remark(reference)))]
    return [checker.image(image) for image in inputs.images]


def _check_file(checker: Decider, content: bytes, name: str, images: tuple[str, ...]) -> ImageReport:
    from slsa_verifier_plugin.checking.image_names import parse_image

    if len(images) > 1:
        raise UsageError("an attestation file is verified for one IMAGE at most")
    digest = parse_image(images[0]).digest if images else None
    # Resolving the tag would ask a registry, which --bundle promises not to.
    if images and digest is None:
        raise UsageError(
            f"{images[0]} has no digest; a file can only be verified for registry/repository@sha256:..."
        )
    return checker.content(content, name, digest)


def rendered(reports: list[ImageReport], look: Look, bundle: str | None = None) -> Iterator[str]:
    """Yield the parts of what is printed; ``bundle`` is the file that the reports are about, where it is no image."""
    from slsa_verifier_plugin.cli.render import render_verify
    from slsa_verifier_plugin.sinks import line

    if look.form == "json":
        yield ended(render_verify.json_of(reports))
    # Each format imports what it alone needs.
    elif look.form == "sarif":
        from slsa_verifier_plugin.cli.render.render_sarif import sarif_of

        # A dashboard would take "-" for a file of that name.
        items = render_verify.items_of(reports, "stdin" if bundle == "-" else bundle or "")
        yield ended(sarif_of(items))
    elif look.form == "junit":
        from slsa_verifier_plugin.cli.render.render_junit import junit_of

        counts = Counter(report.decision for report in reports)
        yield from map(ended, junit_of(render_verify.items_of(reports), counts))
    elif look.form == "markdown":
        from slsa_verifier_plugin.cli.render.render_markdown import markdown_of

        yield ended(markdown_of(reports))
    else:
        yield from (line(text, "\n") for text in render_verify.text_of(reports, look.painter, look.verbose))
