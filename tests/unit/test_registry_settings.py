"""The store's settings, as Ratify writes them."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.errors import ContractCode, ContractError
from slsa_verifier_plugin.registry.settings import StoreSettings


def test_nothing_is_ratifys_default() -> None:
    for store in ({}, None, {"name": "oras"}, {"useHttp": None, "authProvider": None}):
        assert StoreSettings.parse(store) == StoreSettings(False, None, None, False, False, 10)


def test_every_key_is_read_and_others_are_passed_over() -> None:
    store = {
        "name": "oras",
        "useHttp": True,
        "authProvider": {"name": "dockerConfig", "configPath": "/x"},
        "localCachePath": "/cache",
        "cosignEnabled": True,
        "cacheEnabled": True,
        "ttl": 30,
        "later": {"a": 1},
    }
    assert StoreSettings.parse(store) == StoreSettings(
        True, {"name": "dockerConfig", "configPath": "/x"}, "/cache", True, True, 30
    )


def test_names_are_matched_as_gos_decoder_matches_them() -> None:
    assert StoreSettings.parse({"usehttp": True}).use_http
    assert StoreSettings.parse({"USEHTTP": True, "useHttp": False}).use_http is False


@pytest.mark.parametrize(
    "store",
    [
        {"useHttp": "true"},
        {"useHttp": 1},
        {"authProvider": "planted"},
        {"authProvider": ["planted"]},
        {"localCachePath": 7},
        {"cosignEnabled": "no"},
        {"ttl": "planted"},
        {"ttl": 1.5},
        {"ttl": True},
    ],
)
def test_a_wrong_type_is_a_contract_error_that_does_not_show_the_value(store: dict[str, object]) -> None:
    with pytest.raises(ContractError) as caught:
        StoreSettings.parse(store)
    assert caught.value.code is ContractCode.INVALID_CONFIG
    assert next(iter(store)) in caught.value.details
    assert "planted" not in caught.value.details + caught.value.message


def test_secrets_stay_out_of_the_representation() -> None:
    settings = StoreSettings.parse({"authProvider": {"name": "dockerConfig", "password": "planted"}})
    assert "planted" not in repr(settings)
