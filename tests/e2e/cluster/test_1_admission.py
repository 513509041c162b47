"""The demo's story: what is denied, with which words, and what is not touched."""

from __future__ import annotations

import time

import yaml

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab
from tests.e2e.shared import demo_note


def test_the_first_verdict(lab: Lab, say: Say) -> None:
    """a new Ratify or provider, the plugin in it not yet unpacked, admits its first Pod"""
    waited = lab.first_yes[lab.door.name]
    assert 0 < waited < 15
    say(f"{waited:.1f} s after it was ready")


def test_level_1_is_denied(lab: Lab, level_1: bytes, say: Say) -> None:
    """a Pod at level 1 is denied, on the terminal of who creates it"""
    image = lab.image("level-1", level_1)
    outcome = lab.run(image)
    assert not outcome.admitted
    for part in ("[ratify-constraint]", image, "SLSA attestation verified FAILED: "):
        assert part in outcome.text
    for level in ("SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_2"):
        assert level in outcome.text
    said = outcome.text.partition("is not admitted: ")[2]
    lab.check_words("level 1", said)
    say(said)


def test_level_3_is_admitted(lab: Lab, level_3: bytes, say: Say) -> None:
    """a Pod at level 3 is created"""
    outcome = lab.run(lab.image("level-3", level_3))
    assert outcome.admitted, outcome.text
    say(outcome.text)


def test_a_commit_with_a_branch_and_a_tag_at_level_1_is_denied(lab: Lab, say: Say) -> None:
    """a Pod whose commit has two summaries, both at level 1, is denied"""
    outcome = lab.run(lab.image("two", demo_note("4be84a6").read_bytes()))
    assert not outcome.admitted
    assert "SLSA_SOURCE_LEVEL_1" in outcome.text
    said = outcome.text.partition("FAILED: ")[2]
    lab.check_words("two summaries at level 1", said)
    say(said)


def test_the_better_of_two_attestations_counts(lab: Lab, level_1: bytes, level_3: bytes) -> None:
    """an image with attestations of level 1 and of level 3 is admitted under the policy any"""
    outcome = lab.run(lab.image("both", level_1, level_3))
    assert outcome.admitted, outcome.text


def test_other_namespaces_are_untouched(lab: Lab, level_1: bytes, elsewhere: str, say: Say) -> None:
    """the same Pod is created in a namespace that the Constraint does not name"""
    image = lab.image("level-1", level_1)
    assert not lab.run(image).admitted
    outcome = lab.run(image, elsewhere)
    assert outcome.admitted, outcome.text
    say(outcome.text)


def test_every_image_of_a_pod_counts(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """one image at level 1 denies the Pod wherever it is: init container, second container, volume"""
    good, bad = lab.image("level-3", level_3), lab.image("level-1", level_1)
    pods = {
        "init container": lab.pod(good, initContainers=[{"name": "init", "image": bad}]),
        "second container": lab.pod(good),
        "image volume": lab.pod(good, volumes=[{"name": "data", "image": {"reference": bad}}]),
    }
    pods["second container"]["spec"]["containers"].append({"name": "second", "image": bad})
    for where, pod in pods.items():
        outcome = lab.create(pod)
        assert not outcome.admitted, where
        assert bad in outcome.text
        assert good not in outcome.text, "only the image at fault is named"
    say(", ".join(pods))


def test_a_debug_container_is_checked(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """kubectl debug with an image at level 1 is denied on a Pod that was admitted, and works with level 3"""
    pod = lab.pod(lab.image("level-3", level_3))
    name = pod["metadata"]["name"]
    assert lab.create(pod).admitted
    bad = lab.image("level-1", level_1)
    denied = lab.kubectl.attempt("debug", name, f"--image={bad}", "--attach=false")
    assert not denied.admitted
    assert bad in denied.text
    allowed = lab.kubectl.attempt("debug", name, f"--image={lab.image('debug', level_3)}", "--attach=false")
    assert allowed.admitted, allowed.text
    say(denied.text.partition("is not admitted: ")[2])


def test_a_verdict_is_kept_for_ten_seconds(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """after the missing attestation is attached, the denial lasts no longer than the verdict is kept"""
    image = lab.image("late", level_1)
    assert not lab.run(image).admitted
    denied = time.monotonic()
    lab.oras.attach(image, level_3)
    while not lab.run(image).admitted:
        assert time.monotonic() - denied < 15
        time.sleep(0.25)
    say(f"admitted {time.monotonic() - denied:.1f} s after the denial")


def test_an_update_asks_only_about_new_images(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """a Pod that runs can be labelled and deleted while Ratify or the provider is away, and not be given another image"""
    pod = lab.pod(lab.image("level-3", level_3))
    name = pod["metadata"]["name"]
    pod["metadata"]["finalizers"] = ["test.example/hold"]
    assert lab.create(pod).admitted
    lab.door.pause()
    try:
        assert lab.kubectl.attempt("label", "pod", name, "seen=yes").admitted
        unseen = lab.image("level-3", level_3)
        change = yaml.safe_dump({"spec": {"containers": [{"name": "main", "image": unseen}]}})
        changed = lab.kubectl.attempt("patch", "pod", name, "-p", change)
        assert not changed.admitted
        assert "connection refused" in changed.text
        assert lab.kubectl.attempt("delete", "pod", name, "--wait=false").admitted
        assert lab.kubectl.attempt("patch", "pod", name, "-p", "metadata: {finalizers: null}").admitted
    finally:
        lab.door.resume()
        lab.wait_for_a_yes(level_3)
    say(changed.text.partition("is not admitted: ")[2])
