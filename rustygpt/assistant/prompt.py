"""From a path of messages to a prompt. Pure.

In company every person's turn begins with their name, so that the model knows who spoke, and no text can pose as somebody else's
turn. Turns alternate: many chat templates refuse two of one role in a row.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from rustygpt.assistant.procedures import GenerationSetting, PromptTurn
from rustygpt.assistant.providers.base import PromptMessage

COMPANY: Final = (
    "Several people take part in this conversation. Each of their messages begins with the name of the person who wrote it and a "
    "colon. Answer as the assistant; do not begin your answer with a name."
)


def build_prompt(
    turns: Sequence[PromptTurn], setting: GenerationSetting, *, system_prompt: str = ""
) -> tuple[PromptMessage, ...]:
    """Build the prompt from *turns*, newest first as the database gives them. *system_prompt* is the operator's own."""
    in_order = list(reversed(turns))
    while in_order and in_order[0].role == "assistant":
        in_order.pop(0)  # the budget cut the question away; templates begin with a person
    names = sorted({turn.speaker for turn in in_order if turn.speaker})
    is_company = setting.member_count > 1 or len(names) > 1
    parts = [system_prompt, setting.system_prompt, COMPANY if is_company else ""]
    system = "\n\n".join(part.strip() for part in parts if part.strip())
    messages = [PromptMessage("system", system)] if system else []
    for role, group in groupby(in_order, key=lambda turn: turn.role):
        texts = [_text(turn, names) if is_company else turn.content for turn in group]
        messages.append(PromptMessage(role, "\n\n".join(texts)))
    return tuple(messages)


def _text(turn: PromptTurn, names: Sequence[str]) -> str:
    """Put the speaker's name before a person's text, and mark its lines that look like another person's turn."""
    if turn.speaker is None:
        return turn.content
    first, *others = turn.content.split("\n")
    openings = tuple(f"{name}:".casefold() for name in names)
    guarded = [f"> {line}" if line.lstrip().casefold().startswith(openings) else line for line in others]
    return "\n".join([f"{turn.speaker}: {first}", *guarded])
