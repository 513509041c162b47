"""One exchange for all that wait, renewal before the expiry, and the limits of waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, InternalError, Reason, RegistryError, VerifierError
from slsa_verifier_plugin.registry.credentials import refresher as refresh
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.credentials.refresher import Lease, Refresher
from tests.support.clouds import eventually, everything_about


def a_minute() -> Deadline:
    return Deadline(60)


class Exchange:
    """Counts its calls; waits for ``gate`` and raises ``error`` where they are set."""

    def __init__(self, life: float = 3600.0) -> None:
        self.now = 1_000_000.0
        self.life = life
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None
        self.refresher: Refresher[str, str] = Refresher("test", "a value", self.fetch, lambda: self.now)

    def fetch(self, key: str, deadline: Deadline) -> Lease[str]:
        self.calls.append(key)
        number = len(self.calls)
        error, life = self.error, self.life
        if self.gate is not None:
            assert self.gate.wait(20)
        if error is not None:
            raise error
        return Lease.until(f"{key}{number}", self.now + life)

    def at_hand(self, key: str) -> str | None:
        """Return a value that needs no exchange, None where there is none."""
        try:
            return self.refresher.get(key, Deadline(0))
        except DeadlineError:
            return None


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setattr(refresh, "RETRY_SECONDS", 0.0)
    return Exchange()


def in_threads(count: int, call: Callable[[], object]) -> list[object]:
    """Return what ``count`` threads got from ``call``, errors included."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except VerifierError as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_value_is_kept_until_it_ends(exchange: Exchange) -> None:
    assert exchange.refresher.get("a", a_minute()) == "a1"
    exchange.now += 3600 - refresh.EARLY_SECONDS - 1
    assert exchange.refresher.get("a", a_minute()) == "a1"
    assert exchange.calls == ["a"]
    exchange.now += refresh.EARLY_SECONDS + 1
    assert exchange.refresher.get("a", a_minute()) == "a2"


def test_a_value_is_not_handed_out_in_its_last_seconds(exchange: Exchange) -> None:
    exchange.refresher.get("a", a_minute())
    exchange.now += 3600 - refresh.SKEW_SECONDS
    assert exchange.refresher.get("a", a_minute()) == "a2"


def test_keys_are_apart(exchange: Exchange) -> None:
    assert [exchange.refresher.get(key, a_minute()) for key in "abab"] == ["a1", "b2", "a1", "b2"]


def test_one_exchange_for_all_that_wait(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    threading.Timer(0.2, exchange.gate.set).start()
    assert in_threads(64, lambda: exchange.refresher.get("a", a_minute())) == ["a1"] * 64
    assert exchange.calls == ["a"]


def test_all_that_wait_get_the_error_each_one_of_its_own(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    exchange.error = failed("test", "asking", "no", transient=True)
    threading.Timer(0.2, exchange.gate.set).start()
    errors = in_threads(16, lambda: exchange.refresher.get("a", a_minute()))
    assert len(exchange.calls) == 1
    assert len({id(error) for error in errors}) == 16
    for error in errors:
        assert isinstance(error, RegistryError)
        assert (error.message, error.reason, error.transient) == (
            exchange.error.message,
            Reason.REGISTRY_CREDENTIALS,
            True,
        )


def test_an_error_is_not_kept(exchange: Exchange) -> None:
    exchange.error = failed("test", "asking", "no")
    with pytest.raises(RegistryError):
        exchange.refresher.get("a", a_minute())
    exchange.error = None
    assert exchange.refresher.get("a", a_minute()) == "a2"


def test_renewal_begins_early_and_nobody_waits_for_it(exchange: Exchange) -> None:
    exchange.refresher.get("a", a_minute())
    exchange.now += 3600 - refresh.EARLY_SECONDS
    exchange.gate = threading.Event()
    begun = time.monotonic()
    assert [exchange.refresher.get("a", a_minute()) for _ in range(50)] == ["a1"] * 50
    assert time.monotonic() - begun < 5
    assert eventually(lambda: len(exchange.calls) == 2)
    exchange.gate.set()
    assert eventually(lambda: exchange.refresher.get("a", a_minute()) == "a2")
    assert len(exchange.calls) == 2


def test_a_renewal_that_fails_leaves_the_value_in_use(exchange: Exchange) -> None:
    exchange.refresher.get("a", a_minute())
    exchange.error = failed("test", "asking", "no")
    exchange.now += 3600 - refresh.EARLY_SECONDS
    assert exchange.refresher.get("a", a_minute()) == "a1"
    assert eventually(lambda: len(exchange.calls) == 2)
    assert exchange.refresher.get("a", a_minute()) == "a1"
    exchange.now += refresh.EARLY_SECONDS
    with pytest.raises(RegistryError):
        exchange.refresher.get("a", a_minute())


def test_renewals_that_fail_are_spaced(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange.refresher.get("a", a_minute())
    exchange.error = failed("test", "asking", "no")
    exchange.now += 3600 - refresh.EARLY_SECONDS
    exchange.refresher.get("a", a_minute())
    assert eventually(lambda: len(exchange.calls) == 2)
    monkeypatch.setattr(refresh, "RETRY_SECONDS", 60.0)
    for _ in range(100):
        exchange.refresher.get("a", a_minute())
    assert len(exchange.calls) == 2


def test_a_caller_stops_waiting_at_its_deadline(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    begun = time.monotonic()
    with pytest.raises(DeadlineError, match="waiting for a value from test"):
        exchange.refresher.get("a", Deadline(0.2))
    assert time.monotonic() - begun < 2
    exchange.gate.set()


def test_an_exchange_that_comes_in_late_is_used(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    with pytest.raises(DeadlineError):
        exchange.refresher.get("a", Deadline(0.1))
    exchange.gate.set()
    assert eventually(lambda: exchange.at_hand("a") == "a1")
    assert exchange.calls == ["a"]


def test_who_has_more_time_begins_another_exchange(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    impatient = threading.Thread(
        target=lambda: in_threads(1, lambda: exchange.refresher.get("a", Deadline(0.2)))
    )
    impatient.start()
    assert eventually(lambda: exchange.calls == ["a"])
    patient = threading.Thread(
        target=lambda: found.extend(in_threads(1, lambda: exchange.refresher.get("a", a_minute())))
    )
    found: list[object] = []
    patient.start()
    impatient.join()
    assert eventually(lambda: exchange.calls == ["a", "a"])
    exchange.gate.set()
    patient.join()
    assert found[0] in ("a1", "a2")


def test_an_exchange_that_runs_out_of_its_own_time_is_not_the_others_failure() -> None:
    begun: list[Deadline] = []

    def fetch(key: str, deadline: Deadline) -> Lease[str]:
        begun.append(deadline)
        if len(begun) == 1:
            time.sleep(deadline.remaining())
            raise failed("test", "asking", "the last byte did not come in time", transient=True)
        impatient.join(30)  # a value that came before its time is looked at again would do for it, too
        return Lease.until("value", time.time() + 3600)

    refresher: Refresher[str, str] = Refresher("test", "a value", fetch)
    found: list[object] = []
    impatient = threading.Thread(
        target=lambda: found.extend(in_threads(1, lambda: refresher.get("a", Deadline(0.3))))
    )
    impatient.start()
    assert eventually(lambda: len(begun) == 1)
    assert in_threads(4, lambda: refresher.get("a", a_minute())) == ["value"] * 4
    impatient.join()
    assert isinstance(found[0], DeadlineError)
    assert len(begun) == 2


def test_no_time_at_all(exchange: Exchange) -> None:
    with pytest.raises(DeadlineError):
        exchange.refresher.get("a", Deadline(0))
    assert exchange.calls == []


def test_a_value_at_hand_needs_no_time(exchange: Exchange) -> None:
    exchange.refresher.get("a", a_minute())
    assert exchange.refresher.get("a", Deadline(0)) == "a1"


def test_exchanges_that_do_not_end_are_bounded(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    for number in range(refresh.MAX_EXCHANGES):
        with pytest.raises(DeadlineError):
            exchange.refresher.get(f"key{number}", Deadline(0.02))
    with pytest.raises(RegistryError, match="exchanges are under way") as caught:
        exchange.refresher.get("one more", Deadline(5))
    assert caught.value.transient
    exchange.gate.set()
    last = f"key{refresh.MAX_EXCHANGES - 1}"
    assert eventually(lambda: None not in (exchange.at_hand("key0"), exchange.at_hand(last)))
    assert exchange.refresher.get("one more", a_minute()).startswith("one more")


def test_values_are_bounded_the_least_recently_used_out_first(exchange: Exchange) -> None:
    for number in range(refresh.MAX_VALUES):
        exchange.refresher.get(f"{number}:", a_minute())
    exchange.refresher.get("0:", a_minute())
    exchange.refresher.get("more:", a_minute())
    begun = len(exchange.calls)
    exchange.refresher.get("0:", a_minute())
    assert len(exchange.calls) == begun
    exchange.refresher.get("1:", a_minute())
    assert len(exchange.calls) == begun + 1


def test_a_value_that_has_ended_already_is_an_error(exchange: Exchange) -> None:
    exchange.life = refresh.SKEW_SECONDS
    with pytest.raises(RegistryError, match="clock"):
        exchange.refresher.get("a", a_minute())


def test_a_defect_is_a_denial_that_shows_nothing(exchange: Exchange) -> None:
    exchange.error = KeyError("planted-secret-in-an-exception")
    with pytest.raises(InternalError) as caught:
        exchange.refresher.get("a", a_minute())
    assert "KeyError" in caught.value.message
    assert "planted" not in everything_about(caught.value)


def test_without_threads_there_is_an_error(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RegistryError, match="no thread") as caught:
            exchange.refresher.get("a", a_minute())
    assert caught.value.transient
    assert exchange.refresher.get("a", a_minute()) == "a1"
    exchange.now += 3600 - refresh.EARLY_SECONDS
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert exchange.refresher.get("a", a_minute()) == "a1", "a renewal that cannot begin does no harm"


def test_secrets_stay_out_of_repr() -> None:
    assert "planted" not in repr(Lease.until("planted", 1.0))
