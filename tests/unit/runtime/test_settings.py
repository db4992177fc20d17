# SPDX-License-Identifier: Apache-2.0
"""Settings from the environment: all that is wrong in one message."""

from dataclasses import dataclass

import pytest

from nopal_runtime.errors import TerminalError
from nopal_runtime.settings import read, setting


@dataclass(frozen=True, slots=True)
class Settings:
    node: str = setting("NODE")
    renew: float = setting("RENEW", 5.0, minimum=0.1)
    port: int = setting("PORT", 8080, minimum=0)
    emulate: bool = setting("EMULATE", default=False)


def test_defaults_and_values() -> None:
    assert read(Settings, {"NODE": "n1"}) == Settings(node="n1")
    found = read(Settings, {"NODE": "n1", "RENEW": " 0.5 ", "PORT": "0", "EMULATE": "Yes"})
    assert found == Settings(node="n1", renew=0.5, port=0, emulate=True)


def test_an_empty_variable_counts_as_not_given() -> None:
    assert read(Settings, {"NODE": "n1", "PORT": ""}).port == 8080


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(TerminalError) as error:
        read(Settings, {"RENEW": "0", "PORT": "http", "EMULATE": "perhaps"})
    for words in ("NODE must be set", "RENEW='0' must be at least", "PORT='http'", "EMULATE="):
        assert words in error.value.message


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_a_number_is_finite(text: str) -> None:
    with pytest.raises(TerminalError, match="finite"):
        read(Settings, {"NODE": "n1", "RENEW": text})
