"""From a path of messages to a prompt. Pure.

In company every person's turn begins with their name, so that the model knows who spoke, and no text can pose as the turn of another
member: a line that reads like one is quoted. Turns alternate: many chat templates refuse two of one role in a row.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields
from itertools import groupby
from typing import Any, Final

from rustygpt.assistant.procedures import GenerationSetting, PromptTurn
from rustygpt.assistant.providers.base import PromptMessage, Sampling

COMPANY: Final = (
    "Several people take part in this conversation. Each of their messages begins with the name of the person who wrote it and a "
    "colon. Answer as the assistant; do not begin your answer with a name."
)
MARKUP: Final = " \t*_~`#+-•–—"
"""What may stand around a name at the beginning of a line and leave it looking like the beginning of a turn."""
OPENING_CHARACTERS: Final = 200
"""How far into a line its opening is sought: a name has at most 80 characters, its compatibility form perhaps more."""


def build_prompt(
    turns: Sequence[PromptTurn], setting: GenerationSetting, *, system_prompt: str = ""
) -> tuple[PromptMessage, ...]:
    """Build the prompt from *turns*, newest first as the database gives them. *system_prompt* is the operator's own."""
    in_order = list(reversed(turns))
    while in_order and in_order[0].role == "assistant":
        in_order.pop(0)  # the budget cut the question away; templates begin with a person
    names = {turn.speaker for turn in in_order if turn.speaker}
    is_company = setting.member_count > 1 or len(names) > 1
    parts = [system_prompt, setting.system_prompt, COMPANY if is_company else ""]
    system = "\n\n".join(part.strip() for part in parts if part.strip())
    messages = [PromptMessage("system", system)] if system else []
    people = {_folded(name) for name in names.union(setting.members)}
    for role, group in groupby(in_order, key=lambda turn: turn.role):
        texts = [_text(turn, people) if is_company else turn.content for turn in group]
        messages.append(PromptMessage(role, "\n\n".join(texts)))
    return tuple(messages)


def build_sampling(parameters: Mapping[str, Any]) -> Sampling:
    """Turn what the conversation's owners chose into how to sample; the conversation's body has checked it."""
    known = {each.name for each in fields(Sampling)}  # a newer process may have stored more
    chosen: dict[str, Any] = {name: value for name, value in parameters.items() if name in known}
    return Sampling(**{**chosen, "stop": tuple(chosen.get("stop", ()))})


def _text(turn: PromptTurn, people: AbstractSet[str]) -> str:
    """Put the speaker's name before a person's text, and quote its lines that look like the beginning of somebody's turn."""
    if turn.speaker is None:
        return turn.content
    lines = turn.content.splitlines(keepends=True)  # at everything that Unicode calls a line break
    return f"{turn.speaker}: " + "".join(
        f"> {line}" if number and _opens_a_turn(line, people) else line for number, line in enumerate(lines)
    )


def _opens_a_turn(line: str, people: AbstractSet[str]) -> bool:
    opening = _folded(line[:OPENING_CHARACTERS])
    return any(opening[:at].strip(MARKUP) in people for at, character in enumerate(opening) if character == ":")


def _folded(text: str) -> str:
    """Return *text* as the eye reads it: without case, width, invisible characters and markup around it."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return visible.casefold().strip(MARKUP)
