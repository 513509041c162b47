"""Step 14 where no provenance is asked for: no binding at all, or the image's own labels."""

from __future__ import annotations

from collections.abc import Callable

from slsa_verifier_plugin.errors import ArtifactError, RegistryError, VerifierError
from slsa_verifier_plugin.policy.binding import Bound, ImageLabels, check_annotation, check_unbound
from slsa_verifier_plugin.policy.checks import Examination


class NoBinder:
    """``sourceBinding: none``, and every file that hangs on no image: step 14 is not checked, and says so.

    Args:
        unchecked: the ``sourceBinding`` that the policy asks for where there is no image to bind.
    """

    def __init__(self, unchecked: str = "none") -> None:
        self._unchecked = unchecked

    def bind(self, examination: Examination, *, thorough: bool = False) -> Bound:
        """Return step 14 as not checked, or as passed for a summary that names the image's own digest."""
        return Bound(check_unbound(examination, self._unchecked), examination)

    def close(self) -> None:
        """There is nothing to end."""


class AnnotationBinder:
    """``sourceBinding: annotation``: the image's own labels name the commit.

    Args:
        fetch: returns what the image says of its source; raises as ``evidence.image_labels``.
    """

    def __init__(self, fetch: Callable[[], list[ImageLabels]]) -> None:
        self._fetch = fetch
        self._found: list[ImageLabels] | RegistryError | ArtifactError | None = None

    def bind(self, examination: Examination, *, thorough: bool = False) -> Bound:
        """Return step 14 as passed where the labels name a commit of the summary's."""
        # Fetched once for all summaries, of which anybody may attach a thousand, and a failing registry is asked once as well.
        if self._found is None:
            try:
                self._found = self._fetch()
            except (RegistryError, ArtifactError) as error:
                # DeadlineError is not kept: it ends the whole verification at once.
                self._found = error
        # The same answer for every summary: asking again would cost a request for each.
        if isinstance(self._found, VerifierError):
            raise self._found
        # What the labels say is compared with each summary anew; only fetching is done once.
        return check_annotation(examination, self._found)

    def close(self) -> None:
        """There is nothing to end."""
