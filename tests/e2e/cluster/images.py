"""Builds and unpacks the image that Ratify's Pod runs, without a container engine."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NONROOT = 65532
"""The user and group of Ratify's image (distroless/static:nonroot)."""
_PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n"
_GROUP = f"root:x:0:\nnonroot:x:{NONROOT}:\n"
_SECONDS = 120


class ImageError(RuntimeError):
    """crane, or the project's own build script, refused."""


@dataclass(frozen=True)
class Crane:
    """crane, against registries that speak plain HTTP."""

    program: Path
    home: Path

    def run(self, *arguments: str, given: bytes | None = None) -> bytes:
        """Run crane; ``given`` is its standard input.

        Raises:
            ImageError: it failed.
        """
        return _run([str(self.program), "--insecure", *arguments], {"HOME": str(self.home)}, given)

    def config(self, image: str) -> dict[str, object]:
        """Return the ``config`` object of the image's configuration."""
        found: dict[str, object] = json.loads(self.run("config", image))["config"]
        return found


def _run(command: list[str], environment: Mapping[str, str], given: bytes | None = None) -> bytes:
    done = subprocess.run(
        command,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ImageError(f"{' '.join(command)}: {done.stderr.decode()}")
    return done.stdout


def layer(files: Mapping[str, bytes | Path], folders: Mapping[str, tuple[int, int]]) -> bytes:
    """Return a tar of executable ``files``, and of ``folders`` with their owner and mode."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, (owner, mode) in folders.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.uid, entry.gid, entry.mode = tarfile.DIRTYPE, owner, owner, mode
            archive.addfile(entry)
        for name, source in files.items():
            content = source if isinstance(source, bytes) else source.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def push_ratify(crane: Crane, image: str, ratify: Path, authorities: bytes, work: Path) -> str:
    """Push an image laid out as Ratify's own (httpserver/Dockerfile of v1.4.4), which cannot be fetched here.

    Args:
        authorities: what the image has as its CA certificates.

    Returns:
        Its digest reference.
    """
    files: dict[str, bytes | Path] = {
        "app/ratify": ratify,
        "etc/passwd": _PASSWD.encode(),
        "etc/group": _GROUP.encode(),
        "etc/ssl/certs/ca-certificates.crt": authorities,
    }
    folders = {
        "app": (0, 0o755),
        "etc": (0, 0o755),
        "etc/ssl": (0, 0o755),
        "etc/ssl/certs": (0, 0o755),
        "tmp": (0, 0o1777),
        "home": (0, 0o755),
        "home/nonroot": (NONROOT, 0o700),
        ".ratify": (NONROOT, 0o755),
        ".ratify/plugins": (NONROOT, 0o755),
    }
    tarball = work / "ratify-layer.tar"
    tarball.write_bytes(layer(files, folders))
    crane.run("append", "--oci-empty-base", "--new_layer", str(tarball), "--new_tag", image)
    tarball.unlink()
    crane.run(
        *("mutate", image, "--tag", image, "--user", f"{NONROOT}:{NONROOT}"),
        *("--env", "RATIFY_CONFIG=/.ratify/", "--env", "PATH=/usr/bin:/bin"),
        *("--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"),
        *("--entrypoint", "/app/ratify,serve,--http,:6001"),
    )
    return f"{image.rpartition(':')[0]}@{crane.run('digest', image).decode().strip()}"


def push_base(crane: Crane, image: str, authorities: bytes, work: Path) -> str:
    """Push an image laid out as distroless/static:nonroot, which cannot be fetched here; return its digest reference.

    Args:
        authorities: what the image has as its CA certificates.
    """
    files: dict[str, bytes | Path] = {
        "etc/passwd": _PASSWD.encode(),
        "etc/group": _GROUP.encode(),
        "etc/ssl/certs/ca-certificates.crt": authorities,
    }
    folders = dict.fromkeys(("etc", "etc/ssl", "etc/ssl/certs", "home"), (0, 0o755))
    folders |= {"tmp": (0, 0o1777), "home/nonroot": (NONROOT, 0o700)}
    tarball = work / "base-layer.tar"
    tarball.write_bytes(layer(files, folders))
    crane.run("append", "--oci-empty-base", "--new_layer", str(tarball), "--new_tag", image)
    tarball.unlink()
    variables = ("--env", "PATH=/usr/bin:/bin", "--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")
    crane.run("mutate", image, "--tag", image, "--user", f"{NONROOT}:{NONROOT}", *variables)
    return f"{image.rpartition(':')[0]}@{crane.run('digest', image).decode().strip()}"


def build(script: Path, crane: Crane, base: str, image: str, plugin: Path) -> str:
    """Build the project's image with its own script; returns the image's digest reference.

    Raises:
        ImageError: the script failed.
    """
    environment = {"HOME": str(crane.home), "CRANE": f"{crane.program} --insecure", "PLUGIN": str(plugin)}
    return _run([str(script), base, image], environment).decode().strip()


@dataclass(frozen=True)
class Images:
    """What the images hold, fetched and unpacked once each.

    Attributes:
        folder: a new one, for the unpacked images.
    """

    crane: Crane
    folder: Path

    def unpack(self, image: str) -> Path:
        """Return the folder with all layers of a digest reference, owners and modes kept; not to be written to."""
        unpacked = self.folder / image.partition("@sha256:")[2]
        if not unpacked.exists():
            unpacked.mkdir(mode=0o755, parents=True)
            with tarfile.open(fileobj=io.BytesIO(self.crane.run("export", image, "-"))) as archive:
                archive.extractall(unpacked, filter="fully_trusted", numeric_owner=True)  # sticky bits too
        return unpacked

    def copy(self, image: str, folder: Path) -> Path:
        """Lay out the image in a new ``folder`` and return it; its files are shared: replace them, do not write to them."""
        subprocess.run(["cp", "--archive", "--link", str(self.unpack(image)), str(folder)], check=True)
        return folder
