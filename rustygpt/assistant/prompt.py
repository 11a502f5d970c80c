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
from rustygpt.assistant.providers.base import PromptMessage, PromptRole, Sampling

COMPANY: Final = (
    "Several people take part in this conversation. Each of their messages begins with the name of the person who wrote it and a "
    "colon. Answer as the assistant; do not begin your answer with a name."
)
MARKUP: Final = " \t*_~`#+-•–—"
"""What may stand around a name at the beginning of a line and leave it looking like the beginning of a turn."""
COLONS: Final = frozenset(":\uff1a\ufe13\ufe55\u2a74")
"""All characters whose compatibility form holds a colon."""
OPENING_CHARACTERS: Final = 200
"""How far into a line its opening is sought: a name has at most 80 characters, its compatibility form perhaps more."""


def build_prompt(
    turns: Sequence[PromptTurn], setting: GenerationSetting, *, system_prompt: str = ""
) -> tuple[PromptMessage, ...]:
    """Build the prompt from *turns*, newest first as the database gives them. *system_prompt* is the operator's own."""
    return assemble(*word(turns, setting, system_prompt=system_prompt))


def word(
    turns: Sequence[PromptTurn], setting: GenerationSetting, *, system_prompt: str = ""
) -> tuple[str, list[tuple[PromptRole, str]]]:
    """Return the system prompt ("" without one) and, in the order of *turns*, the role and text of each as a model reads it."""
    names = {turn.speaker for turn in turns if turn.speaker}
    is_company = setting.member_count > 1 or len(names) > 1
    parts = [system_prompt, setting.system_prompt, COMPANY if is_company else ""]
    people = {_folded(name) for name in names.union(setting.members)}
    texts: list[tuple[PromptRole, str]] = [(turn.role, _text(turn, people) if is_company else turn.content) for turn in turns]
    return "\n\n".join(part.strip() for part in parts if part.strip()), texts


def assemble(system: str, texts: Sequence[tuple[PromptRole, str]]) -> tuple[PromptMessage, ...]:
    """Make a prompt of a system prompt and of texts, newest first: it begins with a person, and roles alternate."""
    in_order = list(reversed(texts))
    while in_order and in_order[0][0] == "assistant":
        in_order.pop(0)  # its question is not there; templates begin with a person
    messages = [PromptMessage("system", system)] if system else []
    for role, group in groupby(in_order, key=lambda each: each[0]):
        messages.append(PromptMessage(role, "\n\n".join(text for _, text in group)))
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
    if COLONS.isdisjoint(line[:OPENING_CHARACTERS]):  # most lines, at a hundredth of the cost: prompts may have a megabyte
        return False
    opening = _folded(line[:OPENING_CHARACTERS])
    return any(opening[:at].strip(MARKUP) in people for at, character in enumerate(opening) if character == ":")


def _folded(text: str) -> str:
    """Return *text* as the eye reads it: without case, width, invisible characters and markup around it."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return visible.casefold().strip(MARKUP)
