# SPDX-License-Identifier: Apache-2.0
"""The generator: from a model to a structural schema."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, StringConstraints

from nopal_api.base import ApiModel, Rule, crd
from nopal_api.crd_schema import SchemaError, structural_schema

Short = Annotated[str, StringConstraints(max_length=5)]


def spec_of(spec: type[ApiModel]) -> dict[str, Any]:
    root = type("Root", (ApiModel,), {"__annotations__": {"spec": spec}, "__doc__": "A kind."})
    schema: dict[str, Any] = structural_schema(root)["properties"]["spec"]
    return schema


class Inner(ApiModel):
    """An inner thing.

    It has a second paragraph.
    """

    model_config = ConfigDict(json_schema_extra=crd(rules=(Rule("true", "of the model"),)))

    word: Short = "a"
    """A word."""


def test_a_reference_is_inlined_and_titles_go() -> None:
    class Spec(ApiModel):
        inner: Inner
        """What the field says."""

    inner = spec_of(Spec)["properties"]["inner"]
    assert inner["type"] == "object"
    assert inner["description"] == "What the field says.\n\nIt has a second paragraph."
    assert "title" not in str(spec_of(Spec))
    assert "$ref" not in str(spec_of(Spec))


def test_none_makes_a_field_optional() -> None:
    class Spec(ApiModel):
        inner: Inner | None = None
        word: Short | None = None
        must: Short

    schema = spec_of(Spec)
    assert schema["required"] == ["must"]
    assert schema["properties"]["word"] == {"type": "string", "maxLength": 5}
    assert schema["properties"]["inner"]["type"] == "object"
    assert "nullable" not in str(schema)


def test_defaults_are_written_for_scalars_outside_lists() -> None:
    class Spec(ApiModel):
        state: Literal["On", "Off"] = "On"
        none: Annotated[int, Field(ge=0, le=9)] = 0
        empty: Short = ""
        inner: Inner = Inner()
        inners: Annotated[tuple[Inner, ...], Field(max_length=2)] = ()

    schema = spec_of(Spec)
    fields = schema["properties"]
    assert fields["state"]["default"] == "On"
    assert "Default: On." in fields["state"]["description"]
    assert "default" not in fields["none"], "a zero value"
    assert "default" not in fields["empty"]
    assert "default" not in fields["inner"], "an object"
    assert fields["inner"]["properties"]["word"]["default"] == "a"
    assert "default" not in fields["inners"]
    assert "default" not in fields["inners"]["items"]["properties"]["word"]
    assert "required" not in schema


def test_a_status_has_no_defaults() -> None:
    class Root(ApiModel):
        spec: Inner
        status: Inner = Inner()

    properties = structural_schema(Root)["properties"]
    assert "default" in properties["spec"]["properties"]["word"]
    assert "default" not in properties["status"]["properties"]["word"]


def test_one_word_is_an_enum_too() -> None:
    class Spec(ApiModel):
        type: Literal["Ceph"]

    assert spec_of(Spec)["properties"]["type"] == {"type": "string", "enum": ["Ceph"]}


def test_lists_say_how_they_merge() -> None:
    class Spec(ApiModel):
        by_word: Annotated[
            tuple[Inner, ...], Field(max_length=2, json_schema_extra=crd(list_map=("word",)))
        ]
        words: Annotated[
            tuple[Short, ...], Field(max_length=2, json_schema_extra=crd(list_set=True))
        ]
        plain: Annotated[tuple[Short, ...], Field(max_length=2)]

    fields = spec_of(Spec)["properties"]
    assert fields["byWord"]["x-kubernetes-list-type"] == "map"
    assert fields["byWord"]["x-kubernetes-list-map-keys"] == ["word"]
    assert fields["words"]["x-kubernetes-list-type"] == "set"
    assert fields["plain"]["x-kubernetes-list-type"] == "atomic"
    assert "minItems" not in str(fields)


def test_rules_of_the_field_and_of_its_model_are_kept() -> None:
    class Spec(ApiModel):
        inner: Annotated[
            Inner | None, Field(json_schema_extra=crd(rules=(Rule("1 > 0", "field", ".word"),)))
        ] = None
        words: Annotated[
            tuple[Short, ...],
            Field(max_length=2, json_schema_extra=crd(item_rules=(Rule("self != ''", "item"),))),
        ]

    fields = spec_of(Spec)["properties"]
    assert fields["inner"]["x-kubernetes-validations"] == [
        {"rule": "1 > 0", "message": "field", "fieldPath": ".word"},
        {"rule": "true", "message": "of the model"},
    ]
    assert fields["words"]["items"]["x-kubernetes-validations"] == [
        {"rule": "self != ''", "message": "item"}
    ]


def test_an_immutable_field_is_neither_added_nor_removed() -> None:
    class Spec(ApiModel):
        must: Annotated[Short, Field(json_schema_extra=crd(immutable="must cannot change"))]
        may: Annotated[Short | None, Field(json_schema_extra=crd(immutable="may cannot"))] = None
        has: Annotated[Short, Field(json_schema_extra=crd(immutable="has cannot"))] = "a"
        namespace: Annotated[Short | None, Field(json_schema_extra=crd(immutable="no"))] = None

    schema = spec_of(Spec)
    for name in ("must", "may", "has", "namespace"):
        (rule,) = schema["properties"][name]["x-kubernetes-validations"]
        assert rule["rule"] == "self == oldSelf"
    # Only what an update can add or take away needs a rule of its parent.
    assert [rule["rule"] for rule in schema["x-kubernetes-validations"]] == [
        "has(self.may) == has(oldSelf.may)",
        "has(self.__namespace__) == has(oldSelf.__namespace__)",
    ]


def test_a_map_has_bounded_keys() -> None:
    class Spec(ApiModel):
        labels: Annotated[dict[Short, Short], Field(max_length=3)]

    labels = spec_of(Spec)["properties"]["labels"]
    assert labels["additionalProperties"] == {"type": "string", "maxLength": 5}
    assert labels["maxProperties"] == 3
    assert labels["x-kubernetes-validations"][0]["rule"] == "self.all(key, size(key) <= 5)"


def test_lines_are_joined_and_paragraphs_kept() -> None:
    class Spec(ApiModel):
        word: Short | None = None
        """One sentence that
        goes on.

        Another paragraph."""

    text = spec_of(Spec)["properties"]["word"]["description"]
    assert text == "One sentence that goes on.\n\nAnother paragraph."


@pytest.mark.parametrize("wrong", [Short | int, float, dict[str, Short], bool, dict[Short, Any]])
def test_what_a_crd_cannot_carry_is_refused_by_its_path(wrong: Any) -> None:
    spec = type("Spec", (ApiModel,), {"__annotations__": {"odd": wrong}})
    with pytest.raises(SchemaError, match=r"^spec\.odd|^odd"):
        spec_of(spec)
