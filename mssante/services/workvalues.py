"""Values that cross the pipe from a worker back to the server: written plainly, read without trust.

- `plain` turns a result into tagged tuples of primitives (texts, octets, numbers); `value` builds it again. Admitted: tuples,
  lists, dicts, sets, dates, enumerations and frozen dataclasses of mssante. Anything else is a TypeError in the worker.
- What a worker says is not believed: a class is one that the server has already loaded, a frozen dataclass or an enumeration of
  mssante, built by its own constructor with the right number of fields; nothing is called by name, no attribute is set.

Called by `services.workshop` and `workshop_child`.
"""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

_PLAIN = (str, bytes, int, float, bool, type(None))


def plain(given: object) -> object:
    """Give a value as primitives. Raises TypeError for a class that does not cross."""
    if type(given) in _PLAIN:
        return given
    if isinstance(given, Enum):
        return ("enum", *_name(type(given)), plain(given.value))
    if isinstance(given, (tuple, list, set, frozenset)):
        return (type(given).__name__, [plain(one) for one in given])
    if isinstance(given, dict):
        return ("dict", [(plain(key), plain(one)) for key, one in given.items()])
    if is_dataclass(given) and not isinstance(given, type):
        return ("data", *_name(type(given)), [plain(getattr(given, one.name)) for one in fields(given) if one.init])
    if isinstance(given, (datetime, date)):
        return (type(given).__name__, given.isoformat())
    if isinstance(given, timedelta):
        return ("timedelta", given.total_seconds())
    raise TypeError(f"{type(given).__name__} does not cross")


def _name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


class _Primitives(pickle.Unpickler):
    """A reader of pickles in which nothing can be named."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}"[:100])


def written(given: object) -> bytes:
    """Give the octets of a value. Raises TypeError."""
    return pickle.dumps(plain(given), protocol=5)


def read(raw: bytes) -> object:
    """Give the value of octets that a worker wrote. Raises ValueError for whatever it is not."""
    try:
        return value(_Primitives(io.BytesIO(raw)).load())
    except Exception as fault:  # a worker that a document took over may answer anything
        raise ValueError(type(fault).__name__) from fault


def value(given: object) -> object:
    """Build a value from its primitives. Raises ValueError, TypeError."""
    if type(given) in _PLAIN:
        return given
    if type(given) is not tuple or not given:
        raise ValueError("no value")
    kind, rest = given[0], given[1:]
    if kind in ("tuple", "list", "set", "frozenset", "dict") and len(rest) == 1:
        return _container(kind, rest[0])
    if kind == "enum" and len(rest) == 3:
        return _class(rest[0], rest[1], Enum)(value(rest[2]))
    if kind == "data" and len(rest) == 3:
        return _built(_class(rest[0], rest[1], object), [value(one) for one in rest[2]])
    if kind in ("datetime", "date") and len(rest) == 1:
        return (datetime if kind == "datetime" else date).fromisoformat(rest[0])
    if kind == "timedelta" and len(rest) == 1:
        return timedelta(seconds=rest[0])
    raise ValueError("no value")


def _container(kind: str, items: Any) -> object:
    if type(items) is not list:
        raise ValueError("no list")
    if kind == "dict":
        return {value(key): value(one) for key, one in items}
    held = [value(one) for one in items]
    return {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}[kind](held)


def _class(module: object, name: object, base: type) -> Any:
    """Give a class of ours that is loaded already."""
    if not isinstance(module, str) or not isinstance(name, str) or not module.startswith("mssante."):
        raise ValueError("no class")
    found = getattr(sys.modules.get(module), name, None)
    if not isinstance(found, type) or not issubclass(found, base):
        raise ValueError("no class")
    return found


def _built(kind: Any, given: list[object]) -> object:
    """Build a frozen dataclass by its own constructor."""
    parameters: Any = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ValueError("no value class")
    names = [one.name for one in fields(kind) if one.init]
    if len(names) != len(given):
        raise ValueError("fields")
    return kind(**dict(zip(names, given, strict=True)))
