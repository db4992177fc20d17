# SPDX-License-Identifier: Apache-2.0
"""Bad wishes for placement and redundancy: each is refused with a message that names the field."""

import re
from typing import Any

import pytest

from support.kubectl import Api
from support.manifests import changed, good

pytestmark = pytest.mark.real

# path, value (None takes the field out)
ZONE: dict[str, tuple[str, Any]] = {
    "more failures than can be proven": ("redundancy.failures", 4),
    "less than no failure": ("redundancy.failures", -1),
    "half a failure": ("redundancy.failures", "1"),
    "no label key": ("redundancy.topologyKey", "a b"),
    "the word for single hosts": ("redundancy.topologyKey", "host"),
    "a size twice": ("standardSizes", [{"name": "s", "cores": 1, "memory": "1Gi"}] * 2),
    "a size without memory": ("standardSizes.0.memory", None),
    "a size that no guest starts with": ("standardSizes.0.memory", "1Mi"),
    "a size without a core": ("standardSizes.0.cores", 0),
}
RULE: dict[str, tuple[str, Any]] = {
    "everything": ("0.matchLabels", {}),
    "no label key": ("0.matchLabels", {"a/b/c": "x"}),
    "no label value": ("0.matchLabels", {"a": "b c"}),
    "no weight": ("0.weight", 0),
    "too much weight": ("0.weight", 101),
    "no topology key": ("0.topologyKey", "-"),
    "the word for single hosts": ("0.topologyKey", "host"),
}
COUNTED: dict[str, tuple[str, Any]] = {
    "cpu by another way": ("resources", {"cpu": 1}),
    "memory by another way": ("resources", {"memory": 1}),
    "less than nothing": ("resources", {"example.com/gpu": -1}),
    "half a thing": ("resources", {"example.com/gpu": 0.5}),
    "a quantity": ("resources", {"example.com/gpu": "1Ki"}),
    "more than can be counted": ("resources", {"example.com/gpu": 10**9 + 1}),
    "a name with two slashes": ("resources", {"a/b/c": 1}),
    "a name of too many characters": ("resources", {f"example.com/{'a' * 310}": 1}),
    "17 things": ("resources", {f"thing-{i}": 1 for i in range(17)}),
}
VM: dict[str, tuple[str, Any]] = {
    "a space in a feature": ("cpu.features.0", "sse4 2"),
    "a feature in upper case": ("cpu.features.0", "AVX2"),
    "a feature with a value": ("cpu.features.0", "avx2=on"),
    "no feature": ("cpu.features.0", ""),
    "a feature twice": ("cpu.features", ["avx2", "avx2"]),
    "65 features": ("cpu.features", [f"f{i}" for i in range(65)]),
    "any node": ("placement.nodeSelector.matchLabels", {}),
    "a label value that is none": ("placement.nodeSelector.matchLabels", {"a": "b c"}),
    "a spread without a bound": ("placement.spread.0.maxSkew", None),
    "a spread of nothing": ("placement.spread.0.maxSkew", 0),
    "a boolean for eviction": ("placement.eviction", False),
    "an unknown word for a lost host": ("availability.hostLoss", "Ignore"),
    "a priority above all": ("availability.priority", 1001),
} | {
    f"{rule}: {case}": (f"placement.{rule}.{path}", value)
    for rule in ("affinity", "antiAffinity", "spread")
    for case, (path, value) in RULE.items()
}
CASES = [
    (kind, case, *what)
    for kind, cases in (("Zone", ZONE), ("Host", COUNTED), ("VirtualMachine", VM | COUNTED))
    for case, what in cases.items()
]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [(kind, path, value) for kind, _, path, value in CASES],
    ids=[f"{kind}: {case}" for kind, case, _, _ in CASES],
)
def test_it_is_refused_by_its_field(api: Api, kind: str, path: str, value: Any) -> None:
    message = api.refusal(changed(good(kind), f"spec.{path}", value))
    named = "spec." + re.sub(r"\.(\d+)", r"[\1]", path)
    assert named in message, message or "accepted"


@pytest.mark.parametrize("kind", ["Host", "VirtualMachine"])
def test_what_is_counted_already_needs_another_name(api: Api, kind: str) -> None:
    message = api.refusal(changed(good(kind), "spec.resources", {"memory": 1}))
    assert "choose another name" in message
