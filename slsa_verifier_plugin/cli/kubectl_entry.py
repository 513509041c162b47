"""``kubectl slsa``: the command line under the name that kubectl looks for (``kubectl-slsa`` on the ``PATH``).

kubectl hands over everything behind the plugin's name, its own options too. Those that name a cluster go to the commands that
read one: ``kubectl slsa audit`` audits what runs there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import NoReturn

_VALUED = {
    "-n": "--namespace",
    "--namespace": "--namespace",
    "--context": "--context",
    "--kubeconfig": "--kubeconfig",
}
_ALL = ("-A", "--all-namespaces")
SOURCES = ("--images", "--pods", "--manifests", "--registry", "--cluster", "merge", "-h", "--help")
"""Arguments with which an audit has a source already, or asks for help: then ``--cluster`` is not added."""


def main() -> NoReturn:
    """Run the command line with kubectl's options put where they belong."""
    from slsa_verifier_plugin.cli.main import run

    sys.exit(int(run(translated(sys.argv[1:], os.environ))))


def translated(arguments: Sequence[str], environ: MutableMapping[str, str]) -> list[str]:
    """Return the arguments for the command line.

    Args:
        arguments: as kubectl hands them over.
        environ: gets ``KUBECONFIG`` where ``--kubeconfig`` names one, for the kubectl that is asked.
    """
    options: list[str] = []
    rest: list[str] = []
    everywhere = False
    left = iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        # Behind "--" everything is a name, also one that looks like an option of kubectl's.
        if argument == "--":
            rest += [argument, *left]
        elif name in _VALUED and (equals or argument == name):
            # kubectl takes "--namespace=x" and "--namespace x".
            value = value if equals else next(left, "")
            # No option here has it: kubectl, which is asked, reads the variable.
            if _VALUED[name] == "--kubeconfig":
                environ["KUBECONFIG"] = value
            else:
                options += [_VALUED[name], value]
        # kubectl's flags may be written with a value as well.
        elif argument in _ALL or argument == f"{_ALL[1]}=true":
            everywhere = True
        else:
            rest.append(argument)
    # All namespaces are what is read without one; as in kubectl, asking for all goes before naming one.
    if everywhere and "--namespace" in options:
        at = options.index("--namespace")
        del options[at : at + 2]
    # People expect a plugin of kubectl to look at the cluster.
    if rest[:1] == ["audit"]:
        names_other = any(item.partition("=")[0] in SOURCES for item in rest[1:])
        # With another source these options mean nothing: the audit refuses them, and says why.
        return ["audit", *options, *([] if names_other else ["--cluster"]), *rest[1:]]
    # doctor is the only other command that reads a cluster; it takes the kubeconfig from the environment.
    return [*rest, *options]
