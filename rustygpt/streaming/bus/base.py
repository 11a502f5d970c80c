"""The bus says "there is more". It carries no truth, so every kind may lose, repeat or delay anything.

Listeners of the same process are called at once, before the writer goes on; those of other processes hear of it soon, or find out for
themselves: the coordinator compares with the log's end, the runner polls, leases and sessions are looked up.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from typing_extensions import override

from rustygpt.ids import Position
from rustygpt.signals import Announcer, SignalKind, Transient
from rustygpt.streaming.events import LoggedEvent

WakeListener = Callable[[Position], None]
SignalListener = Callable[[SignalKind, str], None]
EventsListener = Callable[[Sequence[LoggedEvent]], None]
TransientListener = Callable[[Transient], None]


class Bus(Announcer, ABC):
    """What every kind has in common. Listeners are added while the application is built; they return at once and do not raise."""

    def __init__(self) -> None:
        self._on_wake: list[WakeListener] = []
        self._on_signal: list[SignalListener] = []
        self._on_events: list[EventsListener] = []
        self._on_transient: list[TransientListener] = []

    def listen(
        self,
        *,
        on_wake: WakeListener | None = None,
        on_signal: SignalListener | None = None,
        on_events: EventsListener | None = None,
        on_transient: TransientListener | None = None,
    ) -> None:
        """Add listeners: for the log's growth, for signals, for committed events in position order, for transient state."""
        if on_wake:
            self._on_wake.append(on_wake)
        if on_signal:
            self._on_signal.append(on_signal)
        if on_events:
            self._on_events.append(on_events)
        if on_transient:
            self._on_transient.append(on_transient)

    @override
    def wake(self, position: Position) -> None:
        for listener in self._on_wake:
            listener(position)

    @override
    def signal(self, kind: SignalKind, key: str = "") -> None:
        for on_signal in self._on_signal:
            on_signal(kind, key)

    @override
    def transient(self, transient: Transient) -> None:
        for on_transient in self._on_transient:
            on_transient(transient)

    def publish(self, events: Sequence[LoggedEvent]) -> None:
        """Hand on events that this process has just committed: at least one, in position order."""
        for listener in self._on_events:
            listener(events)

    @property
    def is_connected(self) -> bool:
        """Say whether this process hears the others, as far as it can know."""
        return True

    @abstractmethod
    async def run(self) -> None:
        """Carry messages between processes until cancelled."""

    @abstractmethod
    async def close(self) -> None:
        """Send what is still to be sent, if that is quick."""
