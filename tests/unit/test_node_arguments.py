from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin import entry
from slsa_verifier_plugin.node.call_arguments import (
    DESCRIPTOR,
    DIGEST,
    MAX_NAME,
    MEDIA_TYPE,
    NAME,
    PROGRAM,
    CallError,
    parse_arguments,
    program_of,
)

FILE = f"/opt/containerd/image-verifier/bin/{PROGRAM}"
IMAGE = "registry.example/team/app:1.2"
SHA256 = "sha256:" + "0a" * 32
CALL = [NAME, IMAGE, DIGEST, SHA256, MEDIA_TYPE, DESCRIPTOR]


def changed(option: str, value: str) -> list[str]:
    made = list(CALL)
    made[made.index(option) + 1] = value
    return made


def refusal(arguments: list[str], program: str = FILE) -> str:
    with pytest.raises(CallError) as error:
        parse_arguments(program, arguments)
    said = str(error.value)
    assert said.isprintable()
    return said


def test_the_way_in_knows_the_same_names() -> None:
    assert frozenset((NAME, DIGEST, MEDIA_TYPE)) == entry.CONTAINERD


def test_containerds_call() -> None:
    call = parse_arguments(FILE, CALL)
    assert (call.name, call.digest, call.profile) == (IMAGE, SHA256, "")


@pytest.mark.parametrize("order", [(0, 2, 4), (4, 2, 0), (2, 0, 4)])
def test_their_order_does_not_matter(order: tuple[int, ...]) -> None:
    call = parse_arguments(FILE, [part for at in order for part in CALL[at : at + 2]])
    assert (call.name, call.digest) == (IMAGE, SHA256)


def test_a_sha512_digest() -> None:
    digest = "sha512:" + "0a" * 64
    assert parse_arguments(FILE, changed(DIGEST, digest)).digest == digest


@pytest.mark.parametrize("left_out", [NAME, DIGEST, MEDIA_TYPE])
def test_one_is_missing(left_out: str) -> None:
    at = CALL.index(left_out)
    assert left_out in refusal(CALL[:at] + CALL[at + 2 :])


@pytest.mark.parametrize("twice", [NAME, DIGEST, MEDIA_TYPE])
@pytest.mark.parametrize("at", [0, 2, 6])
def test_one_is_given_twice_even_with_the_same_value(twice: str, at: int) -> None:
    pair = CALL[CALL.index(twice) :][:2]
    assert "twice" in refusal(CALL[:at] + pair + CALL[at:])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [NAME],
        CALL[:5],
        [*CALL, "--help"],
        [*CALL, "--help", ""],
        ["--version", "", *CALL],
        [NAME, "-digest", SHA256],
        [f"{NAME}={IMAGE}", f"{DIGEST}={SHA256}", f"{MEDIA_TYPE}={DESCRIPTOR}", ""],
        ["--name", IMAGE, DIGEST, SHA256, MEDIA_TYPE, DESCRIPTOR],
        [NAME.upper(), IMAGE, DIGEST, SHA256, MEDIA_TYPE, DESCRIPTOR],
    ],
)
def test_what_is_no_call_of_containerds(arguments: list[str]) -> None:
    refusal(arguments)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        SHA256.upper(),
        SHA256[:-1],
        SHA256 + "0",
        SHA256 + "\n",
        " " + SHA256,
        "sha256:" + "0A" * 32,
        "md5:" + "0a" * 16,
        "sha512:" + "0a" * 32,
        "sha256:" + "\u0660" * 64,
        f"{SHA256},{SHA256}",
    ],
)
def test_a_digest_that_is_none(digest: str) -> None:
    refusal(changed(DIGEST, digest))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\nb",
        "a b",
        "a\tb",
        "a\x00b",
        "a\x1b[2Jb",
        "\udcff",
        "r.example/\u0430pp",
        "a\u202eb",
        "x" * (MAX_NAME + 1),
    ],
)
def test_a_name_that_no_image_has(name: str) -> None:
    refusal(changed(NAME, name))


@pytest.mark.parametrize(
    "media_type", ["", "application/json", DESCRIPTOR + "; charset=utf-8", DESCRIPTOR.upper()]
)
def test_another_media_type(media_type: str) -> None:
    refusal(changed(MEDIA_TYPE, media_type))


@pytest.mark.parametrize("profile", ["a", "strict", "team-a", "0", "x" * 63, "exempt-a", "timeout2"])
def test_the_files_name_chooses_the_profile(profile: str) -> None:
    assert parse_arguments(f"/bin/{program_of(profile)}", CALL).profile == profile
    assert parse_arguments(f"x/../{program_of(profile)}", CALL).profile == profile


@pytest.mark.parametrize(
    "program",
    [
        "",
        "/",
        "-",
        "slsa",
        f"/bin/{PROGRAM}/",
        f"{PROGRAM}-",
        f"{PROGRAM}--",
        f"{PROGRAM}-exempt",
        f"{PROGRAM}-timeout",
        f"{PROGRAM}-a-",
        f"{PROGRAM}-A",
        f"{PROGRAM}-..",
        f"{PROGRAM}-a.b",
        f"{PROGRAM}-a b",
        f"{PROGRAM}-\u00e4",
        f"{PROGRAM}-a\n",
        f"{PROGRAM}strict",
        f"x{PROGRAM}",
        f"{PROGRAM}-" + "x" * 64,
        f"{PROGRAM}-../../tmp/evil",
        f"{PROGRAM}-%2e%2e",
    ],
)
def test_a_files_name_that_is_not_understood_is_no_default(program: str) -> None:
    refusal(CALL, program)


@given(st.lists(st.sampled_from([*CALL, "", "-h", SHA256.upper(), "x=y"]), max_size=8))
def test_nothing_but_a_whole_call_is_one(arguments: list[str]) -> None:
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=False))
    is_call = (
        len(arguments) == 6
        and pairs == {NAME: pairs.get(NAME), DIGEST: SHA256, MEDIA_TYPE: DESCRIPTOR}
        # A name is whatever has no blank: whether it is one of an image is judged later.
        and bool(pairs.get(NAME))
    )
    if is_call:
        assert parse_arguments(FILE, arguments).digest == SHA256
    else:
        refusal(arguments)
