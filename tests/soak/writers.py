"""Those who make the events: talk among people, questions that are answered by counting, stops, read marks, guests who come and go."""

import asyncio
import time

from tests.soak.population import Account, Conversation, Population
from tests.soak.posting import Postbox
from tests.soak.run import Run
from tests.soak.snapshots import Snapshots

COUNT = (20, 150)
TALK_PAUSE_SECONDS = (0.5, 2.0)
ASK_PAUSE_SECONDS = (0.1, 1.0)
GUEST_SECONDS = (2.0, 15.0)
LOOK_SECONDS = 1.5
STOP_SHARE = 0.1
REPLY_SECONDS = 90.0
"""Longer than a count to 150, a lease and a database's absence together."""
THREAD_SHARE = 0.6


class Writers:
    """Everybody who writes, until the soak settles. *repliers* and *talkers* say how many at a time."""

    def __init__(self, run: Run, population: Population, postbox: Postbox, snapshots: Snapshots) -> None:
        self._run = run
        self._population = population
        self._postbox = postbox
        self._snapshots = snapshots
        self._with_model = [each for each in population.conversations if each.has_model]
        self._among_people = [each for each in population.conversations if not each.has_model]
        self._roots: dict[str, list[str]] = {}

    async def write(self, askers: int, talkers: int) -> None:
        """Write until the soak settles, then finish what was begun and let every guest in."""
        async with asyncio.TaskGroup() as group:
            for _ in range(askers):
                group.create_task(self._ask())
            for _ in range(talkers):
                group.create_task(self._talk())
            group.create_task(self._mark())
            for conversation in self._population.conversations:
                if conversation.guest is not None:
                    group.create_task(self._let_come_and_go(conversation, conversation.guest))

    async def _goes_on(self, pause: tuple[float, float]) -> bool:
        """Pause for a while in small steps; False when nothing more is to be begun."""
        until = time.monotonic() + self._run.dice.uniform(*pause)
        while not self._run.is_settling and (left := until - time.monotonic()) > 0:
            await self._run.pause(min(left, 0.3))
        return not self._run.is_settling and not self._run.is_over.is_set()

    async def _talk(self) -> None:
        dice = self._run.dice
        while await self._goes_on(TALK_PAUSE_SECONDS):
            conversation = dice.choice(self._among_people)
            words = " ".join(
                dice.choice(("aye", "nay", "snö", "\N{SNOWMAN}", "\u2028", "two\nlines")) for _ in range(dice.randrange(1, 12))
            )
            roots = self._roots.setdefault(conversation.id, [])
            parent = dice.choice(roots[-5:]) if roots and dice.random() < THREAD_SHARE else None
            post = await self._postbox.post(dice.choice(conversation.members), conversation, f"Said: {words}", parent)
            if parent is None and post.message_id is not None:
                roots.append(post.message_id)

    async def _ask(self) -> None:
        dice = self._run.dice
        while await self._goes_on(ASK_PAUSE_SECONDS):
            conversation = dice.choice(self._with_model)
            asker = dice.choice(conversation.members)
            post = await self._postbox.post(asker, conversation, f"Please count to {dice.randint(*COUNT)}.")
            if post.reply_id is not None:
                await self._see_through(asker, post.reply_id)

    async def _see_through(self, asker: Account, reply_id: str) -> None:
        """Look at a reply now and then until it has ended; press Stop at some."""
        give_up_at = time.monotonic() + REPLY_SECONDS
        stops_at = time.monotonic() + self._run.dice.uniform(0.0, 8.0) if self._run.dice.random() < STOP_SHARE else float("inf")
        while time.monotonic() < give_up_at:
            await self._run.pause(LOOK_SECONDS)
            if time.monotonic() > stops_at:
                stops_at = float("inf")
                await self._postbox.ask(asker, "POST", f"/api/messages/{reply_id}/cancel")
            seen = await self._snapshots.look_at(asker, reply_id)
            if seen is not None and seen["finish_reason"] is not None:
                return
        self._run.blame("wrong end", f"message {reply_id}", 0, f"no end within {REPLY_SECONDS} s of being asked for")

    async def _mark(self) -> None:
        dice = self._run.dice
        while await self._goes_on((0.3, 1.5)):
            conversation = dice.choice(self._among_people)
            roots = self._roots.get(conversation.id)
            if roots:
                body = {"ordinal": dice.randrange(0, 200)}
                await self._postbox.ask(
                    dice.choice(conversation.members), "POST", f"/api/threads/{dice.choice(roots[-5:])}/read", body
                )

    async def _let_come_and_go(self, conversation: Conversation, guest: Account) -> None:
        """Remove the guest and let them in again, over and over; at the end they are in."""
        owner, path = conversation.members[0], f"/api/conversations/{conversation.id}/participants"
        while await self._goes_on(GUEST_SECONDS):
            await self._postbox.ask(owner, "DELETE", f"{path}/{guest.id}")
            await self._goes_on(GUEST_SECONDS)
            answer = await self._postbox.ask(owner, "POST", path, {"user_id": guest.id, "role": "member"})
            if answer is None or answer.status_code not in (201, 409):
                raise RuntimeError(f"{guest.name} could not come back: {answer and answer.text}")
