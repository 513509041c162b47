"""One exchange for all that wait, renewal before the expiry, and the limits of waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, InternalError, Reason, RegistryError, VerifierError
from slsa_verifier_plugin.registry.auth import leases as module
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
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
        self.leases: Leases[str, str] = Leases("a value", self.fetch, lambda: self.now)

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
            return self.leases.get(key, Deadline(0))
        except DeadlineError:
            return None


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
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
    assert exchange.leases.get("a", a_minute()) == "a1"
    exchange.now += 3600 - module.EARLY_SECONDS - 1
    assert exchange.leases.get("a", a_minute()) == "a1"
    assert exchange.calls == ["a"]
    exchange.now += module.EARLY_SECONDS + 1
    assert exchange.leases.get("a", a_minute()) == "a2"


def test_a_value_is_not_handed_out_in_its_last_seconds(exchange: Exchange) -> None:
    exchange.leases.get("a", a_minute())
    exchange.now += 3600 - module.SKEW_SECONDS
    assert exchange.leases.get("a", a_minute()) == "a2"


def test_keys_are_apart(exchange: Exchange) -> None:
    assert [exchange.leases.get(key, a_minute()) for key in "abab"] == ["a1", "b2", "a1", "b2"]


def test_one_exchange_for_all_that_wait(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    threading.Timer(0.2, exchange.gate.set).start()
    assert in_threads(64, lambda: exchange.leases.get("a", a_minute())) == ["a1"] * 64
    assert exchange.calls == ["a"]


def test_all_that_wait_get_the_error_each_one_of_its_own(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    exchange.error = failed("test", "asking", "no", transient=True)
    threading.Timer(0.2, exchange.gate.set).start()
    errors = in_threads(16, lambda: exchange.leases.get("a", a_minute()))
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
        exchange.leases.get("a", a_minute())
    exchange.error = None
    assert exchange.leases.get("a", a_minute()) == "a2"


def test_renewal_begins_early_and_nobody_waits_for_it(exchange: Exchange) -> None:
    exchange.leases.get("a", a_minute())
    exchange.now += 3600 - module.EARLY_SECONDS
    exchange.gate = threading.Event()
    begun = time.monotonic()
    assert [exchange.leases.get("a", a_minute()) for _ in range(50)] == ["a1"] * 50
    assert time.monotonic() - begun < 15, "the renewal takes 20 s"
    assert eventually(lambda: len(exchange.calls) == 2)
    exchange.gate.set()
    assert eventually(lambda: exchange.leases.get("a", a_minute()) == "a2")
    assert len(exchange.calls) == 2


def test_a_renewal_that_fails_leaves_the_value_in_use(exchange: Exchange) -> None:
    exchange.leases.get("a", a_minute())
    exchange.error = failed("test", "asking", "no")
    exchange.now += 3600 - module.EARLY_SECONDS
    assert exchange.leases.get("a", a_minute()) == "a1"
    assert eventually(lambda: len(exchange.calls) == 2)
    assert exchange.leases.get("a", a_minute()) == "a1"
    exchange.now += module.EARLY_SECONDS
    with pytest.raises(RegistryError):
        exchange.leases.get("a", a_minute())


def test_renewals_that_fail_are_spaced(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange.leases.get("a", a_minute())
    exchange.error = failed("test", "asking", "no")
    exchange.now += 3600 - module.EARLY_SECONDS
    exchange.leases.get("a", a_minute())
    assert eventually(lambda: len(exchange.calls) == 2)
    monkeypatch.setattr(module, "RETRY_SECONDS", 60.0)
    for _ in range(100):
        exchange.leases.get("a", a_minute())
    assert len(exchange.calls) == 2


def test_a_caller_stops_waiting_at_its_deadline(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    begun = time.monotonic()
    with pytest.raises(DeadlineError, match="getting a value"):
        exchange.leases.get("a", Deadline(0.2))
    assert time.monotonic() - begun < 15, "the fetch takes 20 s"
    exchange.gate.set()


def test_an_exchange_that_comes_in_late_is_used(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    with pytest.raises(DeadlineError):
        exchange.leases.get("a", Deadline(0.1))
    exchange.gate.set()
    assert eventually(lambda: exchange.at_hand("a") == "a1")
    assert exchange.calls == ["a"]


def test_who_has_more_time_begins_another_exchange(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    impatient = threading.Thread(
        target=lambda: in_threads(1, lambda: exchange.leases.get("a", Deadline(0.2)))
    )
    impatient.start()
    assert eventually(lambda: exchange.calls == ["a"])
    patient = threading.Thread(
        target=lambda: found.extend(in_threads(1, lambda: exchange.leases.get("a", a_minute())))
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

    leases: Leases[str, str] = Leases("a value", fetch, time.time)
    found: list[object] = []
    impatient = threading.Thread(
        target=lambda: found.extend(in_threads(1, lambda: leases.get("a", Deadline(0.3))))
    )
    impatient.start()
    assert eventually(lambda: len(begun) == 1)
    assert in_threads(4, lambda: leases.get("a", a_minute())) == ["value"] * 4
    impatient.join()
    assert isinstance(found[0], DeadlineError)
    assert len(begun) == 2


def test_no_time_at_all(exchange: Exchange) -> None:
    with pytest.raises(DeadlineError):
        exchange.leases.get("a", Deadline(0))
    assert exchange.calls == []


def test_a_value_at_hand_needs_no_time(exchange: Exchange) -> None:
    exchange.leases.get("a", a_minute())
    assert exchange.leases.get("a", Deadline(0)) == "a1"


def test_exchanges_that_do_not_end_are_bounded(exchange: Exchange) -> None:
    exchange.gate = threading.Event()
    for number in range(module.MAX_FETCHES):
        with pytest.raises(DeadlineError):
            exchange.leases.get(f"key{number}", Deadline(0.02))
    with pytest.raises(RegistryError, match="fetches are under way") as caught:
        exchange.leases.get("one more", Deadline(5))
    assert caught.value.transient
    exchange.gate.set()
    last = f"key{module.MAX_FETCHES - 1}"
    assert eventually(lambda: None not in (exchange.at_hand("key0"), exchange.at_hand(last)))
    assert exchange.leases.get("one more", a_minute()).startswith("one more")


def test_values_are_bounded_the_least_recently_used_out_first(exchange: Exchange) -> None:
    for number in range(module.MAX_LEASES):
        exchange.leases.get(f"{number}:", a_minute())
    exchange.leases.get("0:", a_minute())
    exchange.leases.get("more:", a_minute())
    begun = len(exchange.calls)
    exchange.leases.get("0:", a_minute())
    assert len(exchange.calls) == begun
    exchange.leases.get("1:", a_minute())
    assert len(exchange.calls) == begun + 1


def test_a_value_that_has_ended_already_is_an_error(exchange: Exchange) -> None:
    exchange.life = module.SKEW_SECONDS
    with pytest.raises(RegistryError, match="clock"):
        exchange.leases.get("a", a_minute())


def test_a_defect_is_a_denial_that_shows_nothing(exchange: Exchange) -> None:
    exchange.error = KeyError("planted-secret-in-an-exception")
    with pytest.raises(InternalError) as caught:
        exchange.leases.get("a", a_minute())
    assert "KeyError" in caught.value.message
    assert "planted" not in everything_about(caught.value)


def test_without_threads_there_is_an_error(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RegistryError, match="no thread") as caught:
            exchange.leases.get("a", a_minute())
    assert caught.value.transient
    assert exchange.leases.get("a", a_minute()) == "a1"
    exchange.now += 3600 - module.EARLY_SECONDS
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert exchange.leases.get("a", a_minute()) == "a1", "a renewal that cannot begin does no harm"


def test_secrets_stay_out_of_repr() -> None:
    assert "planted" not in repr(Lease.until("planted", 1.0))


def test_what_is_at_hand_is_seen_without_a_fetch(exchange: Exchange) -> None:
    assert exchange.leases.peek("a") is None
    exchange.leases.get("a", a_minute())
    assert exchange.leases.peek("a") == "a1"
    exchange.now += 3600
    assert exchange.leases.peek("a") is None
    assert exchange.calls == ["a"]


def test_a_value_is_dropped_only_while_it_is_the_one(exchange: Exchange) -> None:
    exchange.leases.get("a", a_minute())
    exchange.leases.drop("a", "another")
    assert exchange.leases.peek("a") == "a1"
    exchange.leases.drop("a", "a1")
    assert exchange.leases.peek("a") is None
    exchange.leases.drop("b", "unknown")
    assert exchange.leases.get("a", a_minute()) == "a2"


def test_what_is_known_not_to_be_there_is_a_value_too() -> None:
    calls: list[str] = []

    def fetch(key: str, _: Deadline) -> Lease[str | None]:
        calls.append(key)
        return Lease.lasting(None, 100.0)

    leases: Leases[str, str | None] = Leases("a value", fetch)
    assert [leases.get("a", a_minute()) for _ in range(3)] == [None] * 3
    assert calls == ["a"]


def test_a_token_is_not_handed_out_in_the_last_tenth_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lease = Lease.lasting("token", 100.0)
    assert (lease.ends, lease.usable_until, lease.renew_at) == (1100.0, 1090.0, 1090.0)


def test_a_late_fetch_does_not_replace_what_ends_later(exchange: Exchange) -> None:
    """Who has more time began another fetch, which was faster."""
    gates = [threading.Event(), threading.Event()]
    begun: list[int] = []

    def fetch(_: str, deadline: Deadline) -> Lease[str]:
        number = len(begun)
        begun.append(number)
        assert gates[number].wait(20)
        return Lease.until(f"value {number}", exchange.now + 3600 + number)

    leases: Leases[str, str] = Leases("a value", fetch, lambda: exchange.now)
    with pytest.raises(DeadlineError):
        leases.get("a", Deadline(0.05))
    gates[1].set()
    assert leases.get("a", a_minute()) == "value 1"
    gates[0].set()
    assert eventually(lambda: leases._running == 0)
    assert leases.get("a", a_minute()) == "value 1"
