"""The bus of a single process: a call."""

from collections.abc import Callable

from typing_extensions import override

from rustygpt.ids import Position
from rustygpt.signals import Announcer, SignalKind

WakeListener = Callable[[Position], None]
SignalListener = Callable[[SignalKind, str], None]


class InProcessBus(Announcer):
    """Hands each wake and signal to its listeners at once. Listeners are added while the application is built."""

    def __init__(self) -> None:
        self._on_wake: list[WakeListener] = []
        self._on_signal: list[SignalListener] = []

    def listen(self, *, on_wake: WakeListener | None = None, on_signal: SignalListener | None = None) -> None:
        """Add a listener; it must return at once and not raise."""
        if on_wake:
            self._on_wake.append(on_wake)
        if on_signal:
            self._on_signal.append(on_signal)

    @override
    def wake(self, position: Position) -> None:
        for listener in self._on_wake:
            listener(position)

    @override
    def signal(self, kind: SignalKind, key: str = "") -> None:
        for listener in self._on_signal:
            listener(kind, key)
