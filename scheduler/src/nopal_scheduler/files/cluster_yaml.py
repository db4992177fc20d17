# SPDX-License-Identifier: Apache-2.0
"""Read a cluster file: YAML text in, a `ClusterFile` out, or the line and the field of each error.

pydantic says which field is wrong, YAML's nodes know on which line it stands.
"""

import difflib
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from .cluster_file import ClusterFile, Where
from .file_entries import VmEntry
from .quantity import exact

MOST_ERRORS = 20
_DEEPEST = 50
"""Collections within collections: a cluster file has 7, and libyaml's own stack ends with many."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is faster
_REMEDIES = {
    "bool_type": "write true or false",
    "dict_type": "write `key: value` lines below it",
    "int_type": "write a whole number",
    "model_type": "write `key: value` lines below it",
    "string_type": "put it in quotes",
    "tuple_type": "write a list, each item with a dash",
    "frozen_set_type": "write a list, each item with a dash",
}
_TYPES = {
    "bool_type": "is neither true nor false",
    "dict_type": "is no mapping",
    "int_type": "is no whole number",
    "model_type": "is no mapping",
    "string_type": "is no text",
    "tuple_type": "is no list",
    "frozen_set_type": "is no list",
}


_PATTERNS = {
    r"^[A-Za-z0-9]": "write letters, digits, and . _ : / - after the first",
    r"^[^\[\]]*$": "write it without [ and ]",
}
"""What texts are to look like, by how their pattern begins."""


class FileError(ValueError):
    """What is wrong with a file, one line of text for each error: source:line: field: what."""


def read_cluster(text: str, source: str = "cluster file", *, topology: bool = True) -> ClusterFile:
    """Return the cluster file that the text is.

    Args:
        text: YAML, or JSON, which is YAML too.
        source: Name of the file, for the errors.
        topology: Whether the failure domain of the file counts, and not another in its place.

    Raises:
        FileError: the text is no YAML or no cluster file; says everything that is wrong, each with
            its line.
    """
    try:
        deep = _too_deep(text)
        if deep is not None:
            raise FileError(f"{source}:{deep}: is nested too deeply to be a cluster file")
        loader = _Loader(text)
        try:
            top = loader.get_single_node()
            twice = [] if top is None else list(_twice(top))
            data = None if top is None or twice else loader.construct_document(top)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise FileError(_no_yaml(error, source)) from None
    if twice:
        raise FileError("\n".join(f"{source}:{line}: {what}" for line, what in twice))
    if not isinstance(data, dict):
        raise FileError(f"{source}:1: is no mapping: begin with `hosts:` and a list of hosts")
    try:
        file = ClusterFile.model_validate(data)
        errors = list(file.faults(topology=topology))
    except ValidationError as error:
        errors = [_words(each, ClusterFile) for each in error.errors(include_url=False)]
    if errors:
        raise FileError(_report(errors, top, source))
    return file


def read_vm(data: dict[str, Any], source: str) -> VmEntry:
    """Return one entry of `vms` that comes from elsewhere; raises FileError, without lines."""
    try:
        return VmEntry.model_validate(data)
    except ValidationError as error:
        errors = [_words(each, VmEntry) for each in error.errors(include_url=False)]
    raise FileError("\n".join(f"{source}: {_field(where)}{what}" for where, what in errors))


def _report(errors: list[tuple[Where, str]], top: yaml.Node, source: str) -> str:
    placed = sorted((_line(top, where), _field(where), what) for where, what in errors)
    lines = [f"{source}:{line}: {field}{what}" for line, field, what in placed[:MOST_ERRORS]]
    if len(placed) > MOST_ERRORS:
        lines.append(f"{source}: and {len(placed) - MOST_ERRORS} more errors")
    return "\n".join(lines)


def _words(error: Any, model: type[BaseModel]) -> tuple[Where, str]:
    """Return where a pydantic error is, and what is wrong with the remedy."""
    where, kind, value = tuple(error["loc"]), error["type"], error["input"]
    if where[-1:] == ("[key]",) or kind == "invalid_key":
        keys = where if kind == "invalid_key" else where[:-1]
        return keys[:-1], f"the key {_shown(keys[-1])}: put it in quotes"
    if kind == "missing":
        return where, "is missing: add it"
    if kind == "extra_forbidden":
        return where, f"is no field here{_near(where, model)}"
    if kind in _TYPES:
        if kind == "string_type" and isinstance(value, bool | int | float):
            return where, f"{_shown(value)} is no text: put it in quotes"
        return where, f"{_shown(value)} {_TYPES[kind]}: {_REMEDIES[kind]}"
    if kind == "value_error":
        return where, str(error["ctx"]["error"])
    return where, f"{_shown(value)}: {_bound(kind, error)}"


def _bound(kind: str, error: Any) -> str:
    """Return what a value has to be that is out of its bounds."""
    bounds = error.get("ctx", {})
    match kind:
        case "greater_than_equal":
            return f"write {bounds['ge']} or more"
        case "less_than_equal":
            return f"write {exact(bounds['le'])} or less"
        case "less_than":
            return f"write less than {bounds['lt']}"
        case "string_too_long":
            return f"write at most {bounds['max_length']} characters"
        case "literal_error":
            return f"write {bounds['expected'].replace(chr(39), '')}"
        case "string_pattern_mismatch":
            known = (what for p, what in _PATTERNS.items() if bounds["pattern"].startswith(p))
            return next(known, f"must match {bounds['pattern']}")
    message: str = error["msg"]
    return message[0].lower() + message[1:]


def _near(where: Where, model: type[BaseModel]) -> str:
    """Return what a field that is none may have been meant to be."""
    for part in where[:-1]:
        if isinstance(part, str):
            model = _fields(model)[part]
    known = sorted(_fields(model))
    near = difflib.get_close_matches(str(where[-1]), known, n=1)
    return f": did you mean {near[0]}?" if near else f": known are {', '.join(known)}"


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's fields as the file names them, each with the model below it, if any."""
    return {
        field.alias or name: _model(field.annotation) for name, field in model.model_fields.items()
    }


def _model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_model(part) for part in getattr(annotation, "__args__", ())]
    return next((each for each in found if each is not None), None)


def _line(node: yaml.Node, where: Where) -> int:
    """Return the line of a field, as far down as the text has it."""
    line = node.start_mark.line
    for part in where:
        below = None
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if k.value == str(part)]
            if pairs:
                key, below = pairs[-1]
                line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            below = node.value[part]
            line = below.start_mark.line
        if below is None:
            break
        node = below
    return int(line) + 1


def _field(where: Where) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return f"{text.lstrip('.')}: " if text else ""


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if hasattr(value, "isoformat") else repr(value)  # a date: YAML has them
    return text if len(text) <= 40 else f"{text[:37]}..."


def _too_deep(text: str) -> int | None:
    """Return the line where collections are nested too deeply, which no later step would survive.

    Raises:
        YAMLError: the text is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                mark: Any = event.start_mark
                return int(mark.line) + 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _twice(node: yaml.Node, seen: set[int] | None = None) -> Iterator[tuple[int, str]]:
    """Yield each key that a mapping has twice: YAML itself would take the last in silence."""
    seen = set() if seen is None else seen
    if id(node) in seen:  # an alias, perhaps of its own parent
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys and key.value != "<<":
                    line = key.start_mark.line + 1
                    yield line, f"{key.value}: stands there twice: leave one of them out"
                keys.add(key.value)
            yield from _twice(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item, seen)


def _no_yaml(error: yaml.YAMLError, source: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    at = f"{source}:{mark.line + 1}" if mark else source
    return f"{at}: is no YAML: {problem}"
