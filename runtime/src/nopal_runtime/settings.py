# SPDX-License-Identifier: Apache-2.0
"""Read a process's settings from its environment into a frozen dataclass."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

from nopal_runtime.errors import TerminalError

S = TypeVar("S")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def setting(env: str, default: Any = dataclasses.MISSING, *, minimum: float | None = None) -> Any:
    """Declare a field of a settings dataclass: its variable, its default, its lowest value.

    A field without a default must be given in the environment.
    """
    return dataclasses.field(default=default, metadata={"env": env, "minimum": minimum})


def read(settings: type[S], environ: Mapping[str, str]) -> S:
    """Return the settings. A variable that is empty counts as not given.

    Raises:
        TerminalError: values that are missing or wrong, all of them in one message
            (InvalidSettings).
    """
    values: dict[str, Any] = {}
    wrong = []
    types = get_type_hints(settings)
    for spec in dataclasses.fields(settings):  # type: ignore[arg-type]
        env = spec.metadata["env"]
        text = environ.get(env, "").strip()
        if not text:
            if spec.default is dataclasses.MISSING:
                wrong.append(f"{env} must be set")
            continue
        try:
            value = _PARSERS[types[spec.name]](text)
        except ValueError as error:
            wrong.append(f"{env}={text!r} {error}")
            continue
        minimum = spec.metadata["minimum"]
        if minimum is not None and value < minimum:
            wrong.append(f"{env}={text!r} must be at least {minimum:g}")
        values[spec.name] = value
    if wrong:
        raise TerminalError("InvalidSettings", "; ".join(wrong) + ". Correct the environment.")
    return settings(**values)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not value < float("inf"):
        raise ValueError("must be a finite number")
    return value


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise ValueError("must be true or false")


_PARSERS: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: _integer,
    float: _number,
    bool: _boolean,
}
