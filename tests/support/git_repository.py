"""A git repository with commits and notes, and a server for it that speaks git's smart HTTP."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.http_server import AnsweringHandler, listening

SECONDS = 60


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git in ``folder`` without anybody's settings; return its output."""
    names = {
        f"GIT_{who}_{what}": "t@t.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        input=stdin,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **names},
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout.decode().strip()


@dataclass(frozen=True)
class GitRepository:
    """A repository in a folder."""

    folder: Path

    @classmethod
    def new(cls, folder: Path) -> GitRepository:
        """Make one with nothing in it."""
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet")
        return cls(folder)

    def commit(self, message: str = "One") -> str:
        """Make a commit and return its name."""
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", message)
        return git(self.folder, "rev-parse", "HEAD")

    def note(self, commit: str, content: bytes) -> None:
        """Make ``content`` the git note of ``commit``, byte for byte."""
        blob = git(self.folder, "hash-object", "-w", "--stdin", stdin=content)
        git(self.folder, "notes", "add", "--force", "-C", blob, commit)


@dataclass
class GitServer:
    """Where a served repository is, and the ``Authorization`` headers that were sent there."""

    url: str
    authorizations: list[list[str]] = field(default_factory=list)
    refuse: int = 0


@contextmanager
def served(repository: GitRepository) -> Iterator[GitServer]:
    """Serve a repository by git's smart HTTP on loopback; ``refuse`` is a status to answer instead."""

    class Handler(AnsweringHandler):
        def asked(self) -> None:
            body = self.body()
            server.authorizations.append(self.headers.get_all("Authorization", []))
            if server.refuse:
                self.send_error(server.refuse)
                return
            path, _, query = self.path.partition("?")
            done = subprocess.run(
                ["git", "http-backend"],
                input=body,
                env={
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(repository.folder.parent),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "GIT_CONFIG_COUNT": "1",
                    "GIT_CONFIG_KEY_0": "safe.directory",
                    "GIT_CONFIG_VALUE_0": "*",
                },
                capture_output=True,
                timeout=SECONDS,
                check=True,
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            status = fields.pop("Status", "200 OK")
            self.answer(int(status.split()[0]), content, fields.items())

    with listening(Handler) as host:
        server = GitServer(f"http://{host}/{repository.folder.name}")
        yield server
