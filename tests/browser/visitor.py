"""A person at a browser: what they would click and type, and what they would see, by roles and labels and never by class names."""

import os
import re
from pathlib import Path
from typing import Any, Self

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

PASSWORD = "correct horse battery"
EXPECTED_FAILURES = re.compile(r"Failed to load resource|net::ERR_")
"""What Chromium itself logs for an answer ≥ 400 and for a server that is away: facts of the test, not faults of the page."""


class Visitor:
    """One browser context with one page. `faults` collects what a page must never do: uncaught errors, policy violations, dialogs."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("console", self._on_console)
        page.on("crash", lambda _page: self.faults.append("the page crashed"))

    @classmethod
    async def arrive(cls, browser: Browser, url: str, **context: Any) -> Self:
        """Open a fresh browser context at *url*."""
        made = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-US", **context})
        visitor = cls(made, await made.new_page(), url)
        await visitor.page.goto(url)
        return visitor

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED_FAILURES.search(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    # --- accounts

    async def fill_account(self, name: str) -> None:
        """Type a name, an address and a password into the form of set-up or registration."""
        await self.page.get_by_label("Your name").fill(name)
        await self.page.get_by_label("E-mail").fill(f"{name.lower()}@example.org")
        await self.page.get_by_label("Password", exact=True).fill(PASSWORD)

    async def set_up(self, name: str) -> None:
        """Become the first administrator and look around first."""
        await self.fill_account(name)
        await self.page.get_by_role("button", name="Create administrator").click()
        await self.page.get_by_role("button", name="Continue").click()
        await self.page.get_by_role("button", name="Look around first").click()
        await expect(self.composer).to_be_visible()

    async def register(self, name: str) -> None:
        """Create an account by the form under the sign-in."""
        await self.page.get_by_role("button", name="New here?").click()
        await self.fill_account(name)
        await self.page.get_by_role("button", name="Create account", exact=True).click()
        await expect(self.composer).to_be_visible()

    async def sign_in(self, name: str) -> None:
        """Sign in with the password."""
        await self.page.get_by_label("E-mail").fill(f"{name.lower()}@example.org")
        await self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(self.composer).to_be_visible()

    # --- conversations

    @property
    def composer(self) -> Locator:
        """Where one writes."""
        return self.page.get_by_role("textbox", name="Message")

    @property
    def messages(self) -> Locator:
        """The messages that are shown, oldest first."""
        return self.page.get_by_role("log").get_by_role("article")

    @property
    def answer(self) -> Locator:
        """The newest message of the assistant."""
        return self.messages.filter(has=self.page.get_by_text("Assistant", exact=True)).last

    def answer_is(self, status: str) -> Locator:
        """The newest answer, if it has *status*."""
        return self.answer.and_(self.page.locator(f"[data-status={status}]"))

    async def start(self, message: str, **options: str) -> str:
        """Start a conversation with a message; *options* fill the fields Title and People. Return its id."""
        await self.page.get_by_role("link", name="New conversation").click()
        if options and not await self.page.get_by_label("Title").is_visible():
            await self.page.get_by_text("Options").click()
        for label, value in options.items():
            await self.page.get_by_label(label.title()).fill(value)
        await self.composer.fill(message)
        await self.composer.press("Enter")
        await self.page.wait_for_url(re.compile("/c/"))
        await expect(self.messages.first).to_be_visible()
        return self.page.url.rsplit("/", 1)[-1]

    async def open(self, title: str) -> None:
        """Choose a conversation in the list."""
        await self.page.get_by_role("navigation").get_by_role("link", name=re.compile(re.escape(title))).click()
        await expect(self.page.get_by_role("heading", name=title)).to_be_visible()

    async def say(self, message: str) -> None:
        """Write into the open conversation and send by Enter."""
        await self.composer.fill(message)
        await self.composer.press("Enter")

    async def show_details(self) -> None:
        """Open the panel with members and settings."""
        await self.page.get_by_role("button", name="Members and settings").click()
        await expect(self.page.get_by_role("heading", name="Members")).to_be_visible()

    async def text_of_answer(self) -> str:
        """What the newest answer reads, without its frame."""
        return (await self.answer.locator(".prose").inner_text()).strip()

    async def text_grows_past(self, length: int) -> str:
        """Wait until the newest answer shows more than *length* characters; return them."""
        prose = self.answer.locator(".prose")
        await expect(prose).to_have_text(re.compile(rf"[\s\S]{{{length},}}"))
        return await self.text_of_answer()

    # --- looking closely

    async def violations(self) -> list[str]:
        """What axe-core finds on the page once it has a heading: one line each, with the place."""
        await expect(self.page.locator("main h1").first).to_be_attached()
        found = (await Axe().run(self.page)).response["violations"]
        where = await self.page.title()
        return [f"{where}: {one['id']} ({one['impact']}): {node['html'][:160]}" for one in found for node in one["nodes"]]

    async def screenshot(self, name: str) -> None:
        """Keep a picture where $RUSTYGPT_SCREENSHOTS says, if it says."""
        if folder := os.environ.get("RUSTYGPT_SCREENSHOTS"):
            await self.page.screenshot(path=Path(folder) / f"{name}.png")
