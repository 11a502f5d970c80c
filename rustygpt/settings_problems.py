"""What is wrong with a configuration, said so that one edit mends it: the key, what is allowed, the shape of what is there.

A value is shown only where a number was asked for and a number was given; anything else could be a secret in the wrong place.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rustygpt.settings_table import Table


def describe(error: ValidationError, model: type[Table], origins: Mapping[str, str]) -> str:
    """Return one line for each problem. *origins* maps dotted keys to the source that set them."""
    return "\n".join(_line(problem, model, origins) for problem in error.errors(include_url=False))


def find_field(model: type[Table], path: Sequence[str | int]) -> FieldInfo | None:
    """Return the setting at *path* (numbers choose an item of a list of tables), or None where it is a table or unknown."""
    table: type[Table] | None = model
    field: FieldInfo | None = None
    for key in path:
        if isinstance(key, int):
            continue
        if table is None or key not in table.model_fields:
            return None
        field = table.model_fields[key]
        table = _table_of(field)
    return field if field is not None and (table is None or is_list(field)) else None


def is_list(field: FieldInfo | None) -> bool:
    """Say whether a setting holds several values."""
    return field is not None and get_origin(field.annotation) is tuple


def is_table_list(field: FieldInfo) -> bool:
    """Say whether a setting holds several tables."""
    return is_list(field) and _table_of(field) is not None


def suggestion(model: type[Table], path: Sequence[str | int]) -> str:
    """Return `; did you mean …?` for a misspelt key or a table, else nothing."""
    known = [key for key, _ in all_fields(model)]
    wanted = ".".join(str(part) for part in path)
    if inside := [key for key in known if key.startswith(f"{wanted}.")]:
        return f"; it is a table, with settings such as {inside[0]}"
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.75)
    same_word = [key for key in known if key.rsplit(".", 1)[-1] == wanted.rsplit(".", 1)[-1]]
    found = near or same_word[:1]
    return f"; did you mean {found[0]}?" if found else ""


def all_fields(model: type[Table], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting with its dotted key; an item of a list of tables has `[]` for its number."""
    for name, field in model.model_fields.items():
        table = _table_of(field)
        if table is None or is_list(field):
            yield prefix + name, field
        if table is not None:
            yield from all_fields(table, f"{prefix}{name}{'[]' if is_list(field) else ''}.")


def expectation(field: FieldInfo) -> str:
    """Say what a setting takes, such as `a whole number between 0 and 250`."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    if is_list(field):
        return "a list of tables" if _table_of(field) else "a list of texts"
    if kind is bool:
        return "true or false"
    if kind is int:
        return "a whole number" + _bounds(field)
    if kind is float:
        return "a number" + _bounds(field)
    return "text" + _length(field)


def _line(problem: Any, model: type[Table], origins: Mapping[str, str]) -> str:
    path = problem["loc"]
    key = ".".join(str(part) for part in path)
    field = find_field(model, path)
    if problem["type"] == "extra_forbidden":
        message = "there is no such setting" + suggestion(model, path)
    elif problem["type"] == "missing":
        return f"{key}: is missing; it must be {expectation(field) if field else 'a table'}"
    elif problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
    else:
        message = f"must be {expectation(field)}" if field else "must be a table"
    if not path:
        return message
    if problem["type"] == "value_error" and field is None:  # a whole table: the message names its keys and their values
        return f"{key}: {message}"
    origin = _origin(path, origins)
    return f"{key}: {message} (got {_shape(problem['input'], field)}{f' from {origin}' if origin else ''})"


def _origin(path: Sequence[str | int], origins: Mapping[str, str]) -> str:
    words = [str(part) for part in path]
    keys = (".".join(words[:count]) for count in range(len(words), 0, -1))
    return next((origins[key] for key in keys if key in origins), "")


def _table_of(field: FieldInfo) -> type[Table] | None:
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Table)), None)


def _bounds(field: FieldInfo) -> str:
    low, high = "", ""
    for bound in field.metadata:
        match bound:
            case Ge(ge=value):
                low = f"{value}"
            case Gt(gt=value):
                low = f"more than {value}"
            case Le(le=value):
                high = f"{value}"
            case Lt(lt=value):
                high = f"less than {value}"
    if low.startswith("more") and high:
        return f", {low} and at most {high}"
    return f" between {low} and {high}" if low and high else ""


def _length(field: FieldInfo) -> str:
    for bound in field.metadata:
        match bound:
            case MaxLen(max_length=count):
                return f" of at most {count} characters"
            case MinLen():
                return " that is not empty"
    return ""


def _shape(value: object, field: FieldInfo | None) -> str:
    """Describe a value without repeating it, unless it is a number where a number belongs."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{type(value).__name__} {value}"
        case str():
            return _number_in(value, field) or (
                f"text of {len(value)} character{'s' * (len(value) > 1)}" if value else "empty text"
            )
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict() | Table():
            return "a table"
        case _:
            return type(value).__name__


def _number_in(text: str, field: FieldInfo | None) -> str:
    if field is None or field.annotation not in {int, float}:
        return ""
    for kind in (int, float):
        try:
            return f"{kind.__name__} {kind(text)}"
        except ValueError:
            continue
    return ""
