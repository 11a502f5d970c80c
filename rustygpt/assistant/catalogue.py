"""Which models there are, which one answers when nobody chose, and which one a text addresses.

Providers keep their order, and the order decides: configured ones, or else Ollama and the OpenAI-compatible server of the
environment; then GGUF files; then the demo, which is the default only where nothing else has a model. Each is asked apart,
with a deadline of its own, and one that fails takes nothing from the others, not even time: a reply waits only for the lists that
decide who writes it. Lists go stale in seconds, so what appears later is found without a restart.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from rustygpt.assistant.mentions import Mention, find_mention
from rustygpt.assistant.providers.base import ModelInfo, ModelUse, Provider, ProviderError, ProviderRejected
from rustygpt.errors import FieldError, Invalid

FRESH_SECONDS = 15.0
RETRY_SECONDS = 3.0
"""After this long a provider that failed, or a model that nobody knew, is asked for again."""
PATIENCE_RATIO = 10.0
"""One that took long to fail is left alone for this many times as long: silence costs a tenth of the time at most."""
LIST_SECONDS = 3.0
DEFAULT_KEYS = "assistant.default_model (RUSTYGPT__ASSISTANT__DEFAULT_MODEL)"

log = structlog.get_logger(__name__)


class ModelUnknown(ProviderRejected):
    """No provider has such a model."""


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """What one provider last said, and when; `error` is None when it answered."""

    name: str
    models: tuple[ModelInfo, ...]
    error: str | None
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Detection:
    """The state of the catalogue: `sentence` says which model answers by default, why, and how to change it.

    `default_provider` is None when nothing can answer, also when the chosen default is not there.
    """

    default_model: str | None
    default_provider: str | None
    providers: tuple[ProviderStatus, ...]
    sentence: str


class _Listing:
    """One provider's last list, and what it has ever offered."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.models: tuple[ModelInfo, ...] = ()
        self.known: dict[str, ModelInfo] = {}
        self.error: str | None = None
        self.asked_at = datetime.now(UTC)
        self._asked_at = float("-inf")
        self._took_seconds = 0.0
        self._asking = asyncio.Lock()

    def is_stale(self, fresh_seconds: float) -> bool:
        limit = max(RETRY_SECONDS, PATIENCE_RATIO * self._took_seconds) if self.error else FRESH_SECONDS
        return time.monotonic() - self._asked_at >= min(limit, fresh_seconds)

    async def refresh(self, fresh_seconds: float) -> None:
        async with self._asking:
            if self.is_stale(fresh_seconds):
                await self._ask()

    async def _ask(self) -> None:
        started, before = time.monotonic(), self.error
        try:
            async with asyncio.timeout(LIST_SECONDS):
                self.models = await self.provider.models()
            self.error = None
        except (ProviderError, TimeoutError) as error:
            self.models = ()
            self.error = str(error) or f"{self.provider.name} did not list its models in time."
        if self.error != before:
            log.info("provider_listed", provider=self.provider.name, models=len(self.models), reason=self.error)
        listed = {model.id: model for model in self.models}
        # In the order of the last list, which decides the default: not in the order in which this process came to know them.
        self.known = listed | {name: model for name, model in self.known.items() if name not in listed}
        self.asked_at = datetime.now(UTC)
        self._asked_at = time.monotonic()
        self._took_seconds = self._asked_at - started


class Catalogue:
    """All providers of this process. `open` before use; every method may be called from several tasks at once."""

    def __init__(self, providers: Sequence[Provider], *, default_model: str = "") -> None:
        self.providers = tuple(providers)
        self._chosen = default_model
        self._listings = tuple(_Listing(provider) for provider in providers)

    async def open(self) -> Detection:
        """Open the providers, ask each once, and log what was found. Never fails because one of them is away."""
        for provider in self.providers:
            await provider.open()
        await self.refresh()
        detection = self.detection()
        log.info("models_detected", default_model=detection.default_model, explanation=detection.sentence)
        return detection

    async def close(self) -> None:
        """Close every provider, also when one of them fails to. Safe to call twice."""
        results = await asyncio.gather(*(provider.close() for provider in self.providers), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def models(self) -> tuple[ModelInfo, ...]:
        """List what can be run now, in the order of providers; at most 15 s old. Takes 3 s at worst."""
        await self.refresh(FRESH_SECONDS)
        return self.known_models()

    def known_models(self) -> tuple[ModelInfo, ...]:
        """Return the last list, without asking anybody."""
        return tuple(model for listing in self._listings for model in listing.models)

    async def resolve(self, model: str | None, use: ModelUse = "chat") -> tuple[Provider, str]:
        """Find who runs *model*, given as `id`, `provider/id` or None for the default; returns the provider and its id there.

        A model of a provider that is away is found all the same: its own error says more. Raises ProviderRejected, also for a model
        that is known not to be of that *use*.
        """
        await self.refresh(FRESH_SECONDS, self._deciding(model))
        wanted = model or self._default()
        if wanted is None:
            raise ModelUnknown("There is no model to answer. An administrator can connect one.")
        found = self._find(wanted)
        if found is None:
            await self.refresh(RETRY_SECONDS)
            found = self._find(wanted)
        if found is None:
            raise ModelUnknown(f"There is no model called {wanted[:200]!r} here.")
        info = self.find_model(*found)
        # Many models embed that nobody lists as such: whether one does is its provider's to say, where that does it at all.
        is_able = info is None or use in info.uses or (use == "embed" and found[0].capabilities.embeds)
        if info is not None and not is_able:
            what = "chat" if use == "chat" else "make embeddings"
            raise ProviderRejected(f"The model {info.id} cannot {what}.", 400)
        return found

    def find_model(self, provider: Provider, model: str) -> ModelInfo | None:
        """Return what *provider* last said of *model*; None for one that it never listed."""
        return next((each.known.get(model) for each in self._listings if each.provider is provider), None)

    def find_namesake(self, name: str, *, besides: Collection[str]) -> str | None:
        """Return the first provider not of *besides* whose last list has a model of this name, in whatever case; asks nobody."""
        names = {name.casefold(), f"{name.casefold()}:latest"}
        for listing in self._listings:
            if listing.provider.name not in besides and names & {model.casefold() for model in _offered(listing)}:
                return listing.provider.name
        return None

    async def require_model(self, model: str | None) -> None:
        """Raise Invalid when *model* is named and nobody has it; one of a provider that is away is taken for there."""
        if model is None:
            return
        try:
            await self.resolve(model)
        except ProviderRejected as error:
            raise Invalid(errors=(FieldError("model", error.message),)) from None

    def default_model(self) -> str | None:
        """Return the id (or `provider/id`) of the model that answers when nobody chose; None when there is none at all."""
        return self._default()

    def find_mention(self, content: str) -> Mention | None:
        """Find the first `@assistant` or `@<model>` in *content*, among the models of the last list."""
        return find_mention(
            content, [model.id for listing in self._listings for model in listing.known.values() if "chat" in model.uses]
        )

    async def refresh(self, fresh_seconds: float = 0.0, listings: Sequence[_Listing] | None = None) -> None:
        """Ask the providers whose lists are older than *fresh_seconds* (all of them, or those of *listings*), all at once."""
        stale = [each for each in (self._listings if listings is None else listings) if each.is_stale(fresh_seconds)]
        if not stale:
            return
        async with asyncio.TaskGroup() as tasks:
            for listing in stale:
                tasks.create_task(listing.refresh(fresh_seconds))

    def detection(self) -> Detection:
        """Describe the last lists; asks nobody."""
        statuses = tuple(ProviderStatus(each.provider.name, each.models, each.error, each.asked_at) for each in self._listings)
        default = self._default()
        found = self._find(default) if default else None
        sentence = _sentence(default, found, is_chosen=bool(self._chosen), statuses=statuses)
        return Detection(found[1], found[0].name, statuses, sentence) if found else Detection(default, None, statuses, sentence)

    def _default(self) -> str | None:
        if self._chosen:
            return self._chosen
        # A provider that is away for a moment keeps its place: nobody's conversation falls to the demo in silence.
        found = (model for listing in self._listings for model in listing.known.values() if model.id in _offered(listing))
        return next((model.id for model in found if "chat" in model.uses), None)

    def _deciding(self, model: str | None) -> Sequence[_Listing]:
        """Return whose lists decide who answers: for a known model its provider's, for the default those up to its provider's."""
        wanted = model or self._default()
        found = self._find(wanted) if wanted else None
        at = next((number for number, each in enumerate(self._listings) if found and each.provider is found[0]), None)
        if at is None:
            return self._listings
        return self._listings[at : at + 1] if model or self._chosen else self._listings[: at + 1]

    def _find(self, wanted: str) -> tuple[Provider, str] | None:
        for key in (wanted, f"{wanted}:latest"):  # Ollama's default tag
            for listing in self._listings:
                if key in _offered(listing):
                    return listing.provider, key
        name, slash, model = wanted.partition("/")
        owner = next((each for each in self._listings if slash and each.provider.name == name), None)
        if owner is None:
            return None
        tagged = next((key for key in (model, f"{model}:latest") if key in _offered(owner)), None)
        return None if tagged is None and owner.error is None else (owner.provider, tagged or model)


def _offered(listing: _Listing) -> set[str]:
    """The models that count as there: those of the last list, or all that were ever seen while the provider does not answer."""
    return set(listing.known) if listing.error else {model.id for model in listing.models}


def _sentence(
    default: str | None, found: tuple[Provider, str] | None, *, is_chosen: bool, statuses: Sequence[ProviderStatus]
) -> str:
    failures = " ".join(status.error for status in statuses if status.error)
    if default is None:
        return f"No model can answer. {failures} Start Ollama, set OPENAI_API_KEY or add a GGUF file.".replace("  ", " ")
    if found is None:
        return f"The default model {default} was not found; change {DEFAULT_KEYS}. {failures}".strip()
    provider = found[0].name
    others = sum(len(status.models) for status in statuses) - 1
    if provider == "demo" and not is_chosen:
        remedy = (
            "Start Ollama or put a .gguf file into the models folder of the data directory, and it is noticed within seconds; "
            "or set OPENAI_API_KEY and restart."
        )
        return f"Only the built-in demo answers: no model was found. {failures} {remedy}".replace("  ", " ")
    why = f"as {DEFAULT_KEYS} says" if is_chosen else f"the first that was found; set {DEFAULT_KEYS} to choose another"
    more = f" {others} more can be chosen." if others > 0 else ""
    return f"Replies come from {found[1]} of {provider}, {why}.{more} {failures}".strip()
