"""Every sink is fed what is known to control one: by its encoder, by the renderers, and by whole commands."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from functools import partial
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import given
from jinja2 import TemplateError

from slsa_verifier_plugin import ratify, sinks
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.render.render_sarif import sarif_of
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from slsa_verifier_plugin.errors import ContractCode, ContractError, Reason
from slsa_verifier_plugin.policy.steps import completed
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog
from slsa_verifier_plugin.text import inert, plain, quoted
from tests.support.command_line import ROOT
from tests.support.hostile import HOSTILE, commands_in, unseen_in

PACKAGE = ROOT / "slsa_verifier_plugin"


def without_halves(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "?", text)


@given(HOSTILE)
def test_a_line_controls_neither_a_terminal_nor_a_log(text: str) -> None:
    for shown in (sinks.line(text), sinks.line(f"x {text}"), plain(text), quoted(text)):
        assert commands_in(shown) == []
        # Colours alone may stay: the painter's own look the same.
        assert unseen_in(re.sub("\033\\[[0-9;]+m", "", shown), " ") == []
        assert not re.search("\033\\[(?!(?:[0-2]|3[1-6])(?:;(?:[0-2]|3[1-6]))*m)", shown)
    assert not sinks.line(text).startswith(("--- ", "+++ ", "~~~ "))
    assert not {"{", "}"} & set(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "registry [::1]:5000 and [2001:db8::abc]:443 answer",
        "std::vector<int>, a::b, x :: y",
        "## heading (a list) [x]",
        "#[derive(Debug)]",
        "my_section_start, section start: x",
        "Übergröße 漢字 नमस्ते ภาษาไทย \U0001f600 e\u0301",
        "git+https://github.com/a/b@refs/heads/main --- +++",
    ],
)
def test_what_only_looks_like_a_command_stays(text: str) -> None:
    assert plain(text) == text
    assert sinks.line(text) == text


def test_colours_of_ours_stay() -> None:
    for style in ("red", "green", "yellow", "blue", "cyan", "bold", "dim"):
        painted = Painter(color=True).paint("x", style, "bold")
        assert sinks.line(painted) == painted
    assert sinks.line("\033[8mhidden\033[0m") == "?[8mhidden\033[0m"


@given(HOSTILE)
def test_json_says_the_same_to_who_reads_it_and_nothing_to_a_log(text: str) -> None:
    for indent in (None, 2):
        written = sinks.json_text({"a": [text, {text: 1}]}, indent)
        assert json.loads(written) == {"a": [without_halves(text), {without_halves(text): 1}]}
        assert written.isascii()
        assert commands_in(written) == []
        assert unseen_in(written) == []
    assert "\n" not in sinks.json_text({"a": text}, None)
    streamed = "".join(sinks.json_stream({"head": text}, "items", [{"a": text}, text]))
    assert json.loads(streamed)["items"] == [{"a": without_halves(text)}, without_halves(text)]
    assert commands_in(streamed) == []


@given(HOSTILE)
def test_yaml_reads_back_what_was_written(text: str) -> None:
    written = sinks.yaml_lines(
        [f"a: {sinks.yaml_scalar(text)}", f"# {text}", f"b: [{sinks.yaml_scalar(text)}]"]
    )
    assert yaml.safe_load(written) == {"a": without_halves(text), "b": [without_halves(text)]}
    assert commands_in(written) == []
    assert unseen_in(written) == []
    assert len(written.splitlines()) == 3


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "null",
        "~",
        "1e3",
        "0x10",
        "12:30",
        "2001-01-01",
        "",
        "a:",
        "- a",
        "y",
        "a #b",
        "1.0",
        "a: b",
        "@x",
        " ",
        "-",
        "plain-text",
        "https://github.com/x@refs/heads/main",
    ],
)
def test_yaml_stays_text(text: str) -> None:
    assert yaml.safe_load(f"a: {sinks.yaml_scalar(text)}\n") == {"a": text}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(" ".join([tag, *(name for name, _ in attrs)]))

    def handle_comment(self, data: str) -> None:
        self.seen.append("comment")

    def handle_data(self, data: str) -> None:
        self.text += data


@given(HOSTILE)
def test_html_holds_no_element_but_ours(text: str) -> None:
    shown = inert(text[:500])
    template = (
        '{% macro deep(x) %}<i>{{ x }}</i>{% endmacro %}<b title="{{ text }}">{{ text | text }}</b>'
        "<u>{{ text | name }}</u>{{ deep(text ~ text) }}{{ own }}{{ 1 }}"
    )
    written = "".join(sinks.html_parts(template, {"text": text, "own": sinks.html_text("<p>")}))
    page = Page()
    page.feed(written.replace("<wbr>", ""))
    page.close()
    assert page.seen == ["b title", "u", "i"]
    twice = inert((text + text)[:160]) + ("..." if len(text) > 80 else "")
    assert page.text == f"{shown}{shown}{twice}<p>1"
    assert commands_in(written) == []
    assert unseen_in(written) == []


@pytest.mark.parametrize(
    "template",
    ["{{ text | safe }}", "{{ text | join }}", "{{ missing }}", "{{ range(9) }}", "{{ text.missing }}"],
)
def test_a_template_can_call_nothing_safe_and_name_nothing_that_is_not_there(template: str) -> None:
    with pytest.raises(TemplateError):
        list(sinks.html_parts(template, {"text": "<b>"}))


def test_a_template_that_turns_the_second_net_off_is_encoded_all_the_same() -> None:
    template = "{% autoescape false %}{{ text }}{{ text | text }}{{ text ~ text }}{% endautoescape %}"
    assert "<b>" not in "".join(sinks.html_parts(template, {"text": "<b>"}))


def test_foreign_text_stands_in_templates_only_where_the_encoder_is_made_for() -> None:
    """Content and attributes in double quotes: not in addresses, handlers, styles and scripts, nor unquoted."""
    (path,) = PACKAGE.rglob("*.j2")
    text = path.read_text("utf-8")
    assert "autoescape" not in text
    bare = re.sub(r"{%.*?%}|{#.*?#}", "", text, flags=re.DOTALL)
    for tag in re.findall(r"<[a-z][^<>]*>", bare):
        assert not re.search(r"\s(?:href|src|srcset|style|on\w+|action|formaction)\s*=", tag), tag
        assert "{{" not in re.sub(r'"[^"]*"', "", tag), tag
    inner = dict(re.findall(r"<(style|script)>(.*?)</", bare, re.DOTALL))
    assert inner == {"style": "{{ style }}", "script": "{{ script }}"}


ESCAPED = re.compile(r"\\[^A-Za-z0-9\s]|<!-- -->|&(?:amp|lt|gt);")


@given(HOSTILE)
def test_markdown_shows_text_and_nothing_else(text: str) -> None:
    written = sinks.markdown_text(text)
    rest = ESCAPED.sub(" ", written)
    assert not set(rest) & set("`*_[]|~<>!:$.^\\"), rest
    assert not re.search(r"[@#](?! )", rest)
    assert commands_in(written) == []
    assert unseen_in(written) == []
    for calling in ("@someone", "#1", "GH-1", "www.", "://", "~label", "!1"):
        # Some are looked for in finished text, where escapes are gone.
        assert calling not in re.sub(r"\\(.)", r"\1", written), calling
    assert sinks.markdown_code(text).count("</code>") == 1


@given(HOSTILE)
def test_a_table_of_markdown_keeps_its_columns(text: str) -> None:
    cells = [sinks.markdown_text(text), sinks.markdown_code(text), sinks.markdown("{} x", text)]
    for line in sinks.markdown_table([text, "b", "c"], [cells]):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4


@given(HOSTILE)
def test_sarif_links_nowhere(text: str) -> None:
    item = ReportItem(text, Decision.DENIED, "LEVEL_TOO_LOW", text, text, 3)
    written = sarif_of([item])
    assert commands_in(written) == []
    (result,) = json.loads(written)["runs"][0]["results"]
    shown = result["message"]["text"]
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]{}]", shown)
    assert "markdown" not in result["message"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"[!-~]*", uri)
    assert not re.match(r"//|[^/]*:", uri) or not text
    assert sinks.uri_text(text, "oci").startswith("oci://")


@given(HOSTILE)
def test_the_contracts_lines_control_nothing(text: str) -> None:
    verdict = Verdict(
        success=False,
        reason=Reason.NO_VSA,
        sentence=text,
        subject=text,
        artifact="sha256:0",
        steps=completed([]),
        binding="none",
        warnings=(text, text),
    )
    error = ContractError(ContractCode.INVALID_CONFIG, text, text)
    for response in (ratify.answer(verdict, text, text, 1), ratify.contract_failure(error)):
        line = response.stdout.decode()
        assert line.count("\n") == 1
        assert json.loads(line)
        assert line[1:-2].count("{") == line[1:-2].count("}")
        assert commands_in(line) == []
        log = response.stderr.decode()
        assert not {"{", "}"} & set(log)
        assert commands_in(log) == []
        assert unseen_in(log) == []
    assert len(ratify.answer(verdict, "a", "", 1).stderr.decode().splitlines()) == 2


@given(HOSTILE)
def test_the_resident_verifiers_log_controls_nothing(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    echoed: list[str] = []
    path = tmp_path_factory.mktemp("log") / "errors"
    log = ErrorLog(str(path), echoed.append)
    log.add(text)
    log.close()
    for shown in (path.read_text("utf-8"), echoed[0]):
        assert len(shown.splitlines()) == 1
        assert commands_in(shown) == []
        assert unseen_in(shown) == []


def trees() -> list[tuple[str, ast.Module]]:
    return [
        (str(path.relative_to(PACKAGE)), ast.parse(path.read_text("utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def called(tree: ast.Module) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_templates_are_literals_and_only_encoders_make_what_sinks_take() -> None:
    kinds = {"LogLine", "Json", "Markdown", "Html", "Xml", "Csv", "Yaml", "Script"}
    made: set[tuple[str, str]] = set()
    for where, tree in trees():
        imports_sinks = any(
            isinstance(node, ast.ImportFrom) and str(node.module).endswith(".sinks")
            for node in ast.walk(tree)
        )
        if not imports_sinks:
            continue
        for name, call in called(tree):
            if name in ("markdown", "xml"):
                template = call.args[0]
                literal = isinstance(template, ast.Constant) or (
                    isinstance(template, ast.Name) and template.id == "template"
                )
                assert literal, f"{where}:{call.lineno}: the template of {name} is no literal"
            made |= {(where, name)} & {(where, kind) for kind in kinds}
        for node in ast.walk(tree):
            # A template that has a name is a literal of the same function, or that function's argument.
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "template":
                assert isinstance(node.value, ast.Constant), f"{where}:{node.lineno}"
    assert made == {("cli/commands/completion_command.py", "Script")}


def test_only_these_write_to_standard_output_and_error() -> None:
    writers = {
        (where, name)
        for where, tree in trees()
        for name, _ in called(tree)
        if re.search(r"(?:stdout|stderr|stream|_write)\.?write$|^click\.s?echo$|^print$", name)
        and where.startswith("cli/")
    }
    assert writers == {
        ("cli/session.py", "stream.write"),
        ("cli/session.py", "sys.stdout.write"),
        ("cli/audit_report.py", "stream.write"),
        ("cli/main.py", "click.echo"),
    }


def test_a_renderer_that_shows_text_raw_does_not_type_check() -> None:
    """``make lint`` has mypy refuse each of these lines; here: that they are looked at, and that none of them is missing."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert settings["strict"] is True, "an ignore that is not needed would be no error"
    assert "tests" in settings["files"]
    assert not settings.get("exclude")
    assert not [name for name in settings if name.startswith("warn_unused")]
    # Neither of the two is about what a sink takes: imports without types, and names that one module hands on.
    harmless = {"module", "ignore_missing_imports", "implicit_reexport"}
    assert not [one for one in settings["overrides"] if not set(one) <= harmless]
    lines = (ROOT / "tests" / "support" / "raw_renderers.py").read_text("utf-8").splitlines()
    refused = [line.partition("  # type: ignore[")[0].strip() for line in lines if "# type: ignore[" in line]
    assert refused == [
        'yield f"<b>{name}</b>"',
        "yield html_name(name) + name",
        'lines = list(markdown_table(["a"], [[name]]))',
        'return "\\n".join(lines)',
        'show(f\'{{"name": "{name}"}}\')',
        "show(name)",
        "put(sys.stdout, [name])",
        "joined([name])",
    ]


def test_what_encodes_is_fast() -> None:
    """What is long costs one pass, whatever it is of: an encoder that looked back or ahead without limit would take hours."""
    for text in ("::a" * 70_000, "##" * 100_000, "::a-" * 50_000, "section_" * 25_000, "[" * 200_000):
        for encode in (
            sinks.json_text,
            sinks.line,
            sinks.yaml_scalar,
            partial(sinks.markdown_text, limit=len(text)),
        ):
            assert encode(text)
