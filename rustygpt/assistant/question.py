"""From a claimed generation to what is put to a model: who is asked is recorded before anybody is, with what the prompt holds.

A database that is away for a moment delays the question; it does not lose it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from rustygpt.assistant.context import fit, window_of
from rustygpt.assistant.procedures import Claim, name_model, read_generation_setting, read_prompt
from rustygpt.assistant.prompt import build_sampling
from rustygpt.assistant.providers.base import CompletionRequest, Provider
from rustygpt.errors import Unavailable

if TYPE_CHECKING:
    from rustygpt.assistant.catalogue import Catalogue
    from rustygpt.database.call import Caller
    from rustygpt.settings import AssistantSettings

PATIENCE_SECONDS: Final = 30.0
"""For so long a database that is away delays an answer before it fails it."""
RETRY_SECONDS: Final = 0.5

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Asker:
    """Prepares questions."""

    database: Caller
    catalogue: Catalogue
    settings: AssistantSettings

    async def prepare(self, claim: Claim, provider: Provider, model: str) -> CompletionRequest | None:
        """Build the request; None when nobody is to be asked: a stop came first, the fence is lost, or the question was deleted.

        Raises ProviderContextExceeded where the question does not fit, Unavailable.
        """
        database, settings, message = self.database, self.settings, claim.message_id
        setting = await _patiently(lambda: read_generation_setting(database, message=message))
        sampling = build_sampling(setting.parameters)
        info = self.catalogue.find_model(provider, model)
        told = info.context_tokens if info else None
        window = window_of(told or settings.context_tokens, sampling.max_tokens)
        characters = window.characters(settings.prompt_characters)
        turns = await _patiently(lambda: read_prompt(database, message=message, characters=characters))
        if not any(turn.step == 1 for turn in turns):
            return None
        fitted = await fit(provider, model, turns, setting, window, root_id=claim.root_id, system_prompt=settings.system_prompt)
        request = CompletionRequest(model, fitted.prompt, sampling)
        name, context = provider.name, {**fitted.context.as_json(), "ignored": request.unsupported(provider.capabilities)}
        is_ours = await _patiently(
            lambda: name_model(database, message=message, fence=claim.fence, provider=name, model=model, context=context)
        )
        if is_ours and fitted.refusal is not None:
            raise fitted.refusal
        return request if is_ours else None


async def _patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """Call, and try again while the database is away. Raises Unavailable."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(RETRY_SECONDS)
