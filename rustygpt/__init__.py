"""RustyGPT: people and AI models in the same threaded conversations, streamed from a durable log."""

__version__ = "0.1.0"
