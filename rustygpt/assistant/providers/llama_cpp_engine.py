"""The llama.cpp engine: a process of its own that serves one model and dies with the server that started it.

Not a module of the server: `llama_cpp.py` runs this file. xllamacpp holds the interpreter's lock while it loads a model (1.5
s a gigabyte from a warm cache), so in the server's own process every stream would stand still; and a file that makes
llama.cpp abort, or a kernel short of memory, would take the whole server away.
docs/decisions/0003-llama-cpp-process.md has the measurements.

In: one line of JSON on stdin, an Order. Out: one line of JSON on stdout, `{"address"}` or `{"error"}`; the log goes to
stderr. When stdin ends, because it was closed or because the parent died, the process is gone at once.
"""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

PR_SET_PDEATHSIG = 1
BATCH_TOKENS = 256
"""llama.cpp looks at cancellation between batches only. On 2 cores and a 1.5 GB model a prompt that nobody wants any more is
dropped after 1.7 s with 256, after 34 s with the default of 2 048, and both read a prompt equally fast."""
EMBEDDING_TOKENS = 8_192
PROMPT_CACHE_MIB = 512
"""llama.cpp's own default would let the cache of past prompts grow to 8 GiB."""


class Listening(Protocol):
    """What is needed of xllamacpp's Server."""

    listening_address: str


class Order(TypedDict):
    """What to serve. `context_tokens` is for each slot (0: what the file says, or fits); `gpu_layers` -1: as many as fit.

    `embeds`: make vectors out of texts, and no replies.
    """

    model_file: str
    api_key: str
    context_tokens: int
    slots: int
    gpu_layers: int
    embeds: bool


def main() -> None:
    """Load, report, serve until the parent has gone."""
    _die_with_parent()
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever native code prints must not be taken for the report
    order: Order = json.loads(sys.stdin.readline())
    try:
        server = _serve(order)
    except (ImportError, RuntimeError, ValueError, MemoryError) as error:
        print(json.dumps({"error": str(error)}), file=report, flush=True)
        os._exit(1)
    print(json.dumps({"address": server.listening_address}), file=report, flush=True)
    sys.stdin.read()
    os._exit(0)  # nothing is worth an orderly unloading that may take seconds


def _serve(order: Order) -> Listening:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["model_file"]
    params.n_ctx = order["context_tokens"] * order["slots"]
    params.n_parallel = order["slots"]
    if order["embeds"]:
        params.embedding = True
        # A text to embed must fit into one batch.
        params.n_batch = params.n_ubatch = order["context_tokens"] or EMBEDDING_TOKENS
    else:
        params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.n_gpu_layers = order["gpu_layers"]
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    # The port is open to every process of this machine: without a key any of them could use the model and read the slots.
    params.api_keys = [order["api_key"]]
    params.cors_origins = ""
    params.ui = False
    params.verbosity = 2  # warnings and errors; from 4 on it would log prompts
    server: Listening = xllamacpp.Server(params)
    return server


def _die_with_parent() -> None:
    """Be killed when the parent is, even in the middle of loading; let the kernel take this process before the server."""
    parent = os.getppid()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main()
