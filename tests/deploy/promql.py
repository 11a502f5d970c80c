"""Reads just enough PromQL to say which metrics and labels an expression names; Prometheus itself judges the rest."""

import re
from dataclasses import dataclass

_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\s*\(|[\w:])")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")')
_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "without", "on", "ignoring"})


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric with its matchers: (label, operator, quoted value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def query(self, without: str = "") -> str:
        """Return the selector as PromQL, leaving out the matchers on label *without*."""
        kept = ", ".join(f"{label}{operator}{value}" for label, operator, value in self.matchers if label != without)
        return f"{self.metric}{{{kept}}}"


def selectors(expression: str) -> list[Selector]:
    """Return every selector of *expression*, in order."""
    bare = re.sub(r"\[[^\]]*\]", "", _GROUPING.sub(" ", expression))
    return [
        Selector(match[1], tuple(_MATCHER.findall(match[2] or "")))
        for match in _NAME.finditer(bare)
        if match[1].lower() not in _KEYWORDS
    ]


def grouping_labels(expression: str) -> set[str]:
    """Return the labels that the expression groups or joins by."""
    return {label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(",") if label.strip()}
