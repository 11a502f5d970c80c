"""What the workers of one `serve` share out: all together write no more answers, and load no model more often, than one process would."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rustygpt.settings import Settings


def worker_settings(settings: "Settings", number: int) -> "Settings":
    """Return the settings of worker *number* (from 1): the same, but its share of `assistant.max_concurrency`, which may be 0.

    With GGUF files on this machine the first worker writes all answers: each worker that did would load the model for itself.
    """
    writers = 1 if has_local_models(settings) else settings.server.workers
    whole, rest = divmod(settings.assistant.max_concurrency, writers)
    share = 0 if number > writers else whole + (number <= rest)
    return settings.model_copy(update={"assistant": settings.assistant.model_copy(update={"max_concurrency": share})})


def has_local_models(settings: "Settings") -> bool:
    """Say whether llama.cpp has files to run, as they are now."""
    llama_cpp, folder = settings.assistant.llama_cpp, settings.models.folder_in(settings.data_dir)
    if not llama_cpp.enabled:
        return False
    return any(folder.glob("*.gguf")) or bool(
        llama_cpp.model_file and (folder / Path(llama_cpp.model_file).expanduser()).exists()
    )
