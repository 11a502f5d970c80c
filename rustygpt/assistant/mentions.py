"""Who is addressed in a text: `@assistant`, or `@` and the id of a model.

A mention begins a word and ends one; code, e-mail addresses and longer names are never mentions. Of two models the longer
name wins.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

ASSISTANT = "assistant"

_CODE = re.compile(r"(?P<fence>```+|~~~+).*?(?:(?P=fence)|\Z)|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mention:
    """One mention: `model` is the id as the catalogue knows it, None for `@assistant`: the conversation's model, or the default."""

    model: str | None
    start: int
    end: int


def find_mention(content: str, models: Iterable[str]) -> Mention | None:
    """Return the first mention of the assistant or of one of *models* in *content*, ignoring case; linear in its length.

    A model `name:latest` may be called `name`.
    """
    if "@" not in content:
        return None
    names: dict[str, str | None] = {ASSISTANT: None}
    for model in models:
        names.setdefault(model.lower(), model)
        names.setdefault(model.lower().removesuffix(":latest"), model)
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w@.+/-])@({'|'.join(map(re.escape, longest_first))})(?![\w@]|[.:/-]\w)", re.IGNORECASE)
    match = pattern.search(_CODE.sub(lambda code: " " * len(code[0]), content))
    return Mention(names[match[1].lower()], *match.span()) if match else None
