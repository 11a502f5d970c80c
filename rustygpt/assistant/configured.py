"""The providers that settings and environment ask for, in the order that decides which model answers by default."""

from pathlib import Path

from rustygpt.assistant.catalogue import Catalogue
from rustygpt.assistant.providers.base import Provider
from rustygpt.assistant.providers.demo import DemoProvider
from rustygpt.assistant.providers.llama_cpp import LlamaCppProvider
from rustygpt.assistant.providers.ollama import OllamaProvider
from rustygpt.assistant.providers.openai import PUBLIC_BASE_URL, OpenAIProvider
from rustygpt.assistant.providers.upstream import Patience
from rustygpt.settings import AssistantSettings, ProviderSettings


def build_catalogue(settings: AssistantSettings, data_dir: Path, models_dir: Path | None = None) -> Catalogue:
    """Build the providers that the settings and the environment ask for, unopened, in the order that decides the default."""
    providers: list[Provider] = [_configured(provider) for provider in settings.providers]
    key = settings.openai_api_key.get_secret_value()
    if not providers:
        if settings.ollama_base_url:
            providers.append(
                OllamaProvider(
                    "ollama",
                    settings.ollama_base_url,
                    patience=Patience(connect_seconds=1.0),
                    context_tokens=settings.ollama_context_tokens,
                    keep_alive=settings.ollama_keep_alive,
                )
            )
        if settings.openai_base_url or key:
            providers.append(OpenAIProvider("openai", settings.openai_base_url or PUBLIC_BASE_URL, api_key=key))
    if settings.llama_cpp.enabled:
        providers.append(LlamaCppProvider(settings.llama_cpp, data_dir, models_dir=models_dir))
    if settings.demo.enabled:
        providers.append(DemoProvider(settings.demo.tokens_per_second))
    return Catalogue(providers, default_model=settings.default_model)


def _configured(settings: ProviderSettings) -> Provider:
    patience = Patience(
        connect_seconds=settings.connect_timeout_seconds,
        first_token_seconds=settings.first_token_timeout_seconds,
        idle_seconds=settings.idle_timeout_seconds,
        retries=settings.retries,
    )
    name, url, key, models = settings.name, settings.base_url, settings.api_key.get_secret_value(), settings.models
    if settings.kind == "openai":
        return OpenAIProvider(name, url, api_key=key, models=models, patience=patience, context_tokens=settings.context_tokens)
    return OllamaProvider(
        name,
        url,
        api_key=key,
        models=models,
        patience=patience,
        context_tokens=settings.context_tokens,
        keep_alive=settings.keep_alive,
    )
