"""A migration from Ratify, and its way back: two Providers are changed, and nothing else."""

from __future__ import annotations

import threading
import time

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.load import Burst, burst, push_images
from tests.e2e.cluster.ratify import Setting


def test_the_providers_are_swapped(
    bare_lab: Lab, setting: Setting, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """while Pods are created, Gatekeeper is told to ask the provider in Ratify's place, and back: no wrong decision"""
    lab = bare_lab
    lab.prepare(lab.provider, level_3)
    lab.prepare(lab.ratify, level_3, setting)
    lab.provider.resume()
    images = push_images(lab, level_1, level_3)
    asked = lab.provider.metrics().count("slsa_provider_decisions_total{")
    results: list[Burst] = []
    creating = threading.Thread(target=lambda: results.append(burst(lab, images, 400, 8)))
    creating.start()
    swaps = 0
    try:
        while creating.is_alive():
            lab.apply(("provider/gatekeeper", "gatekeeper/provider")[swaps % 2])
            swaps += 1
            time.sleep(0.5)
    finally:
        creating.join()
        lab.apply("gatekeeper/provider")
        answered = lab.provider.metrics().count("slsa_provider_decisions_total{")
        lab.provider.pause()
    (result,) = results
    assert swaps >= 2, "the Providers were not swapped back while Pods were created"
    assert answered > asked, "the provider was never asked"
    assert not result.wrong, result.wrong[:3]
    say(f"{swaps} swaps; {result}")
