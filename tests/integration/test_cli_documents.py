"""``docs/cli.md`` against the program, and the examples of ``docs/python.md`` run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

import click
import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import main
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, ROOT
from tests.support.embedded_registry import EmbeddedRegistry

GUIDE = (ROOT / "docs" / "cli.md").read_text("utf-8")
API = (ROOT / "docs" / "python.md").read_text("utf-8")


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")


COMMANDS = dict(commands(main.program))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_in_the_guide(name: str) -> None:
    assert f"`{name.partition(' ')[0]}" in GUIDE
    assert name.rpartition(" ")[2] in GUIDE
    for parameter in COMMANDS[name].params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            if option.startswith("--"):
                assert f"{option}" in GUIDE, f"{name} {option}"


def test_no_option_in_the_guide_is_made_up() -> None:
    known = {
        option
        for command in (*COMMANDS.values(), main.program)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE))
    # What kubectl-slsa takes in kubectl's own words, before the command.
    assert named - known - {"--help", "--kubeconfig"} == set()


def test_every_status_is_in_the_guide() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", GUIDE, re.MULTILINE)}
    assert listed == {int(status) for status in Status}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    command = COMMANDS[name]
    with click.Context(command, info_name=name) as context:
        text = command.get_help(context)
    assert "Usage:" in text
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help or parameter.name == "form", f"{name} {parameter.opts}"
    if not isinstance(command, click.Group):
        assert len(command.help or "") > 30


def test_the_examples_in_python_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file_example, image_example, wrong_example = re.findall(r"```python\n(.*?)```", API, re.DOTALL)
    names: dict[str, object] = {}
    expectations = re.findall(r"```text\n(.*?)```", API, re.DOTALL)
    for example, expected in zip((file_example, wrong_example), expectations, strict=True):
        printed = StringIO()
        with redirect_stdout(printed):
            exec(example, names)
        assert printed.getvalue() == expected
    with EmbeddedRegistry() as registry:
        image = registry.push_image("team/app", "v1")
        for note in (LEVEL_1, LEVEL_3):
            registry.attach("team/app", image, ARTIFACT_TYPE, [note.read_bytes()])
        names["IMAGE"] = f"{registry.host}/team/app:v1"
        printed = StringIO()
        with redirect_stdout(printed):
            exec(image_example, names)
    lines = printed.getvalue().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["False", "True"]
    assert lines[1].startswith("True SLSA Attestation Check: SUCCESS. SLSA_SOURCE_LEVEL_3")
