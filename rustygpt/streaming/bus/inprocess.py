"""The bus of a single process: a call, which nothing can lose. The process lock keeps a second process off the database."""

from typing_extensions import override

from rustygpt.streaming.bus.base import Bus


class InProcessBus(Bus):
    """Hands everything to its listeners at once, and to nobody else."""

    @override
    async def run(self) -> None:
        pass

    @override
    async def close(self) -> None:
        pass
