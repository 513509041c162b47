"""Runs the caller's kubectl: what it prints, and what it says where it fails, in one line that is meant for people."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import plain

_KLOG = re.compile(r"[IWEF][0-9]{4} [0-9:.]+ +[0-9]+ [\w.-]+:[0-9]+\] *")
"""How client-go logs to standard error, once for each try, before kubectl says what is wrong (klog's header)."""


_REMEDY = "check the context, the kubeconfig, and what its user may read"


class KubectlError(UsageError):
    """kubectl is not there, gave no answer, or failed; the text is what it said itself, if it said anything."""


def run_kubectl(arguments: Sequence[str], environ: Mapping[str, str], seconds: float) -> bytes:
    """Return what kubectl prints.

    Args:
        arguments: without the program's name.
        environ: with the ``PATH`` and ``KUBECONFIG`` to use.
        seconds: after which it is ended.

    Raises:
        KubectlError: it is not on the ``PATH``, takes too long, or fails.
    """
    # By the caller's PATH and not the process's own: a test or a wrapper hands in another.
    program = shutil.which("kubectl", path=environ.get("PATH"))
    if program is None:
        raise KubectlError(
            "there is no kubectl on the PATH; install it, or give what it prints elsewhere as a file"
        )
    return run_program([program, *arguments], environ, seconds, _REMEDY)


def run_program(command: Sequence[str], environ: Mapping[str, str], seconds: float, remedy: str) -> bytes:
    """Return what kubectl, or a program like it, prints.

    Args:
        command: the program's path, and its arguments.
        environ: of the program.
        seconds: after which it is ended.
        remedy: what to do where it fails.

    Raises:
        KubectlError: it cannot be run, takes too long, or fails.
    """
    done = finished(command, environ, seconds, remedy)
    # It may have printed a part of the list; a part would pass for all of it.
    if done.returncode != 0:
        shown = plain(" ".join((Path(command[0]).name, *command[1:3])))
        raise KubectlError(f"{shown}: {said(done.stderr)}; {remedy}")
    return done.stdout


def finished(
    command: Sequence[str],
    environ: Mapping[str, str],
    seconds: float,
    remedy: str,
    stdin: bytes = b"",
    folder: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, whatever its status is.

    Args:
        command: the program's path, and its arguments.
        environ: of the program.
        seconds: after which it is ended.
        remedy: what to do where it gives no answer.
        stdin: what it reads.
        folder: where it runs; the caller's own by default.

    Raises:
        KubectlError: it cannot be run, or takes too long.
    """
    name = Path(command[0]).name
    try:
        return subprocess.run(  # noqa: S603 (of the caller's PATH or choice, with the caller's own arguments)
            command,
            env=dict(environ),
            input=stdin,
            cwd=folder,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    # An unreachable API server keeps kubectl trying for minutes, and the bases of a kustomization may never answer.
    except subprocess.TimeoutExpired:
        raise KubectlError(f"{name} gave no answer within {seconds:g} s; {remedy}") from None
    # Not executable, or of another architecture.
    except OSError as error:
        raise KubectlError(f"{name} cannot be run: {error.strerror or type(error).__name__}") from error


def said(stderr: bytes) -> str:
    """Return the line of a program's standard error that says what is wrong: its own, and none of the log of its library."""
    # Bytes that are no UTF-8 may be in a name that the server sent.
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    own = [line for line in lines if not _KLOG.match(line)]
    # Where there is nothing but the log, its last line is as good as any, without the header.
    chosen = own[0] if own else _KLOG.sub("", lines[-1]) if lines else "it failed without a word"
    return plain(chosen, 256)
