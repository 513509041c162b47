"""What each peer is built from: versions, module sums and build flags, all pinned here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

_RATIFY = "github.com/ratify-project/ratify"
_RATIFY_SUM = "h1:jD4QA+I2HnqXrG4Y+UtHVws6uEjU2D5nY25t11jDlfg="
_CONTAINERD = "github.com/containerd/containerd/v2"
_CONTAINERD_SUM = "h1:p6Qg+xbEz8lvwdhHDx0U469xENvp4LgGBx+E7djXkGw="
_CONTAINERD_LDFLAGS = f"-w -X {_CONTAINERD}/version.Version=v2.4.2"


@dataclass(frozen=True)
class GoPeer:
    """A program built by the Go toolchain, in a copy of its module so that its own go.mod and go.sum hold.

    Attributes:
        name: the executable's file name.
        version: the module's version, or the library's for a program of this folder.
        package: the main package, relative to the module's root.
        module: the module's path; None for a program whose source is ``HERE / name``.
        checksum: the ``h1:`` sum that the module's content must have.
        in_sumdb: False where Go's checksum database has no entry, so that ``checksum`` alone vouches.
        ldflags: flags for the linker, as the program's own release sets them.
    """

    name: str
    version: str
    package: str = "."
    module: str | None = None
    checksum: str | None = None
    in_sumdb: bool = True
    ldflags: str = "-w"


_LISTED = (
    GoPeer(
        name="ratify",
        version="v1.4.4",
        package="./cmd/ratify",
        module=_RATIFY,
        checksum=_RATIFY_SUM,
        ldflags=f"-w -X {_RATIFY}/internal/version.GitTag=v1.4.4",
    ),
    GoPeer(
        name="oras",
        version="v1.3.0",
        package="./cmd/oras",
        module="oras.land/oras",
        checksum="h1:PdxrW0wRu24AMRnJcQWhUXTk33bDHCdSvyWcKoAxArE=",
        in_sumdb=False,
        ldflags="-w -X oras.land/oras/internal/version.BuildMetadata=",
    ),
    GoPeer(name="ociregistry", version="v0.0.0-20251212221603-3adeb8663819"),
    GoPeer(name="ggcr", version="v0.22.1"),
    GoPeer(
        name="schemavalidator",
        version="v1.4.4",
        package="./plugins/verifier/schemavalidator",
        module=_RATIFY,
        checksum=_RATIFY_SUM,
    ),
    GoPeer(
        name="sample",
        version="v1.4.4",
        package="./plugins/verifier/sample",
        module=_RATIFY,
        checksum=_RATIFY_SUM,
    ),
    GoPeer(
        name="cosign",
        version="v3.1.3",
        package="./cmd/cosign",
        module="github.com/sigstore/cosign/v3",
        checksum="h1:001JQRI/PJ/5T+g/kJ1KTvKFbb322+fomc+pHDZ/6sg=",
        ldflags="-w -X sigs.k8s.io/release-utils/version.gitVersion=v3.1.3",
    ),
    GoPeer(
        name="crane",
        version="v0.22.1",
        package="./cmd/crane",
        module="github.com/google/go-containerregistry",
        checksum="h1:RZuuSYhTvlDvtsK+NkutoCZ//C0X2ebLK8X8l3ULs84=",
        ldflags="-w -X github.com/google/go-containerregistry/cmd/crane/cmd.Version=v0.22.1",
    ),
    # The daemon and its client, of one module: they speak to each other, so their versions are one.
    GoPeer(
        name="containerd",
        version="v2.4.2",
        package="./cmd/containerd",
        module=_CONTAINERD,
        checksum=_CONTAINERD_SUM,
        ldflags=_CONTAINERD_LDFLAGS,
    ),
    GoPeer(
        name="ctr",
        version="v2.4.2",
        package="./cmd/ctr",
        module=_CONTAINERD,
        checksum=_CONTAINERD_SUM,
        ldflags=_CONTAINERD_LDFLAGS,
    ),
    GoPeer(
        name="crictl",
        version="v1.37.0",
        package="./cmd/crictl",
        module="sigs.k8s.io/cri-tools",
        checksum="h1:BmTImEoTX3KPXCLwmIU9mfCC8umUqF4R8WibY9eVU9Y=",
        ldflags="-w -X sigs.k8s.io/cri-tools/pkg/version.Version=1.37.0",
    ),
    # Not a peer of the plugin's: it checks the workflows (make lint).
    GoPeer(
        name="actionlint",
        version="v1.7.12",
        package="./cmd/actionlint",
        module="github.com/rhysd/actionlint",
        checksum="h1:vQ4GeJN86C0QH+gTUQcs8McmK62OLT3kmakPMtEWYnY=",
        ldflags="-w -X github.com/rhysd/actionlint.version=1.7.12",
    ),
)

PEERS = {listed.name: listed for listed in _LISTED}
"""All Go peers by name, in the order in which they are worth building."""

DOCKER_REGISTRY = "docker-registry"
"""Debian's registry, which has no referrers API; it comes as a package, not from Go."""
