"""What a provider's failure is to a client of /v1: its own fault, nobody's for the moment, or the upstream's."""

from rustygpt.assistant.catalogue import ModelUnknown
from rustygpt.assistant.providers.base import (
    ProviderContextExceeded,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from rustygpt.http.openai_error import OpenAIError

RETRY_SECONDS = 5


def failure_of(error: ProviderError) -> OpenAIError:
    """Translate: what the upstream says of the request is passed on, what it says of itself or of our key is a 502."""
    match error:
        case ModelUnknown():
            return OpenAIError(404, error.message, "model_not_found", "model")
        case ProviderContextExceeded():
            return OpenAIError(400, error.message, "context_length_exceeded", "messages")
        case ProviderRejected(status=404):
            return OpenAIError(404, error.message, "model_not_found", "model")
        case ProviderRejected(status=400 | 413 | 422):
            return OpenAIError(400, error.message, error.code)
        case ProviderRejected(status=429):
            return OpenAIError(429, error.message, error.code, None, RETRY_SECONDS)
        case ProviderTimeout():
            return OpenAIError(504, error.message, error.code)
        case ProviderUnreachable():
            return OpenAIError(503, error.message, error.code, None, RETRY_SECONDS)
        case _:
            return OpenAIError(502, error.message, error.code)
