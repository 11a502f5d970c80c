"""Figures as tables that read well in a terminal and in Markdown: the median of the rounds, with the least and the greatest.

Tables go to standard output, progress to standard error.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.benchmarks.figures import spread

Round = TypeVar("Round")


def say(line: str) -> None:
    """Tell what is being done."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def show(title: str, text: str) -> None:
    """Print a table."""
    sys.stdout.write(f"\n{title}\n\n{text}\n")
    sys.stdout.flush()


def cell(found: Sequence[Round], figure: Callable[[Round], float | None], digits: int = 1, unit: str = "") -> str:
    """Return one figure of all rounds; a dash where it was not measured."""
    known = spread([figure(each) for each in found])
    return known.shown(digits) + unit if known else "–"


def pair(found: Sequence[Round], first: Callable[[Round], float | None], second: Callable[[Round], float | None]) -> str:
    """Return two figures that belong together."""
    return f"{cell(found, first)} / {cell(found, second)}"


def ratio(ours: Sequence[Round], theirs: Sequence[Round], figure: Callable[[Round], float | None]) -> str:
    """Return ours divided by theirs, round by round."""
    pairs = [(figure(our), figure(their)) for our, their in zip(ours, theirs, strict=True)]
    known = spread([our / their for our, their in pairs if our is not None and their])
    return known.shown(2) if known else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out the rows under their head."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
