"""Requests that survive faults: asked again, at another server, with the same key, until there is an answer or the time is up.

What was confirmed must be in the log exactly once; what never got an answer, at most once.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.soak.fleet import Fleet
from tests.soak.population import Account, Conversation
from tests.soak.run import Run

ANSWER_SECONDS = 6.0
GIVE_UP_SECONDS = 45.0


@dataclass(slots=True)
class Post:
    """One message that somebody wrote. *token* is in its text and nowhere else; None ids are what no answer has told."""

    token: str
    conversation: Conversation
    message_id: str | None = None
    root_id: str | None = None
    reply_id: str | None = None
    is_refused: bool = False


@dataclass(slots=True)
class Postbox:
    """Sends requests and remembers every post."""

    run: Run
    fleet: Fleet
    client: httpx2.AsyncClient
    posts: list[Post] = field(default_factory=list)

    async def ask(self, account: Account, method: str, path: str, body: Any = None) -> httpx2.Response | None:
        """Return the first answer below 500, or None when none came in time."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        place = self.run.dice.randrange(len(self.fleet.servers))
        while time.monotonic() < give_up_at:
            place += 1
            answer = await self._ask_once(place % len(self.fleet.servers), account, method, path, body)
            if answer is not None and answer.status_code < 500:
                return answer
            await asyncio.sleep(self.run.dice.uniform(0.1, 0.6))
        self.run.tally["request without an answer"] += 1
        return None

    async def post(self, account: Account, conversation: Conversation, text: str, parent_id: str | None = None) -> Post:
        """Write a message."""
        post = Post(f"#{len(self.posts)}#", conversation)
        self.posts.append(post)
        body = {
            "content": f"{text} {post.token}",
            "client_id": f"soak{post.token}",
            **({"parent_id": parent_id} if parent_id else {}),
        }
        answer = await self.ask(account, "POST", f"/api/conversations/{conversation.id}/messages", body)
        if answer is None:
            self.run.tally["post unknown"] += 1
        elif answer.status_code == 201:
            told = answer.json()
            post.message_id, post.root_id = told["message_id"], told["root_id"]
            post.reply_id = told["generation"]["message_id"] if told["generation"] else None
            self.run.tally["post confirmed"] += 1
        else:
            post.is_refused = True
            self.run.blame("unexpected answer", f"post {post.token}", 0, f"{answer.status_code}: {answer.text[:300]}")
        return post

    async def _ask_once(self, place: int, account: Account, method: str, path: str, body: Any) -> httpx2.Response | None:
        url, asked_at = self.fleet.servers[place].url, time.monotonic()
        try:
            answer = await self.client.request(method, url + path, json=body, headers=account.headers, timeout=ANSWER_SECONDS)
        except httpx2.HTTPError as error:
            self.run.tally[f"request {type(error).__name__}"] += 1
            return None
        self.client.cookies.clear()  # every account has its own
        self.run.judge_answer(answer.status_code, f"request {method} {path}", asked_at, answer.text[:300])
        return answer
