"""Families of metrics whose label values are known beforehand: what is not among them counts as "other", so no series are added."""

from collections.abc import Sequence
from itertools import product
from typing import Final, Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

Family = TypeVar("Family", Counter, Gauge, Histogram)

OTHER: Final = "other"


class Closed(Generic[Family]):
    """A family whose label values are known beforehand. A look-up is one dict access; it never raises and never grows the set."""

    def __init__(self, family: Family, **allowed: Sequence[str]) -> None:
        self._family: Family = family
        self._names = tuple(allowed)
        self._allowed = tuple(frozenset(values) for values in allowed.values())
        self._children: dict[tuple[str, ...], Family] = {values: family.labels(*values) for values in product(*allowed.values())}

    def labels(self, *values: str, **named: str) -> Family:
        """Return the series of these label values, given in order or by name."""
        key = values or tuple(named[name] for name in self._names)
        child = self._children.get(key)
        return child if child is not None else self._other(key)

    def _other(self, key: tuple[str, ...]) -> Family:
        known = tuple(value if value in allowed else OTHER for value, allowed in zip(key, self._allowed, strict=True))
        return self._children.setdefault(known, self._family.labels(*known))
