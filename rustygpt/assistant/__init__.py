"""The assistant: it claims queued generations, asks a provider, and writes what it says into the log."""
