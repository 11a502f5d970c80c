"""What is on the screen: Markdown without danger, a view that nobody moves but the reader, and sentences for who listens."""

import asyncio

from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.person import DEADLINE_SECONDS
from tests.site import Site

NASTY = """<img src=x onerror="window.pwned=1"> <script>window.pwned=2</script>

[click](javascript:window.pwned=3) [data](data:text/html,<script>window.pwned=4</script>) [good](https://example.org/a?b=c)

![tracker](https://example.org/pixel.png?secret=1)

<svg/onload=window.pwned=5><style>body{display:none}</style>

<a href="javascript:window.pwned=6" style="position:fixed" onclick="window.pwned=7">raw</a>

```html" onmouseover="window.pwned=8
<script>window.pwned=9</script>
```
"""
MARKDOWN = """## Heading

Some *emphasis*, **weight** and `code`.

1. first
2. second

| a | b |
|---|---|
| 1 | 2 |

```python
def greet():
    return "hello"
```
"""


async def test_markdown_is_shown_and_cannot_act(site: Site, arrive: Arrive) -> None:
    """Raw HTML reads as text, dangerous links lead nowhere, and no picture is fetched from another host."""
    ada = await arrive(site.url)
    requests: list[str] = []
    ada.page.on("request", lambda request: requests.append(request.url))
    await ada.set_up("Ada")
    await ada.start(NASTY)
    message = ada.messages.first
    await expect(message.get_by_text('<img src=x onerror="window.pwned=1">')).to_be_visible()
    assert await message.locator("img, script, style, svg:not([aria-hidden])").count() == 0
    links = await message.locator(".prose a[href]").evaluate_all(
        "(links) => links.map((a) => [a.textContent, a.href, a.rel, a.target])"
    )
    safe = ["noopener noreferrer nofollow", "_blank"]
    assert links == [["good", "https://example.org/a?b=c", *safe], ["tracker", "https://example.org/pixel.png?secret=1", *safe]]
    assert await ada.page.evaluate("window.pwned") is None
    assert [url for url in requests if not url.startswith(site.url)] == []


async def test_code_can_be_copied(site: Site, arrive: Arrive) -> None:
    """The button of a code block copies exactly the code."""
    ada = await arrive(site.url, permissions=["clipboard-read", "clipboard-write"])
    await ada.set_up("Ada")
    await ada.start(MARKDOWN)
    message = ada.messages.first
    await expect(message.get_by_role("heading", name="Heading")).to_be_visible()
    await expect(message.get_by_role("table")).to_be_visible()
    await message.get_by_role("button", name="Copy code").click()
    await expect(message.get_by_role("button", name="Copied")).to_be_visible()
    assert await ada.page.evaluate("navigator.clipboard.readText()") == 'def greet():\n    return "hello"'


async def test_reader_who_scrolled_away_is_left_alone(slow_site: Site, arrive: Arrive) -> None:
    """A growing answer keeps the newest line in view until the reader scrolls up; a button leads back."""
    ada = await arrive(slow_site.url, viewport={"width": 900, "height": 420})
    await ada.set_up("Ada")
    await ada.start("Please count to 20000")
    view = ada.page.get_by_role("log")
    await ada.text_grows_past(900)
    assert await view.evaluate("(e) => e.scrollHeight - e.clientHeight - e.scrollTop") < 64
    await view.hover()
    await ada.page.mouse.wheel(0, -10_000)
    await expect(ada.page.get_by_role("button", name="Jump to newest")).to_be_visible()
    # The browser adds the turn of the wheel to a line that came in the same frame. From here on nothing but the wheel moves the view.
    await ada.page.mouse.wheel(0, -10_000)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await view.evaluate("(e) => e.scrollTop") > 0:
            await ada.page.evaluate("new Promise(requestAnimationFrame)")
    await ada.text_grows_past(1_400)
    assert await view.evaluate("(e) => e.scrollTop") == 0
    await ada.page.get_by_role("button", name="Jump to newest").click()
    await expect(ada.page.get_by_role("button", name="Jump to newest")).to_have_count(0)
    await ada.text_grows_past(1_800)
    assert await view.evaluate("(e) => e.scrollHeight - e.clientHeight - e.scrollTop") < 64
    await ada.page.get_by_role("button", name="Stop the answer").last.click()
    await expect(ada.answer_is("cancelled")).to_be_visible()


async def test_reader_is_left_alone_who_scrolls_up_less_than_the_answer_grew(slow_site: Site, arrive: Arrive) -> None:
    """A step up counts from the end that the page had just gone to, also where one scroll event tells of both."""
    ada = await arrive(slow_site.url, viewport={"width": 900, "height": 420})
    await ada.set_up("Ada")
    await ada.start("Please count to 20000")
    view = ada.page.get_by_role("log")
    await ada.text_grows_past(900)
    await view.evaluate(
        """(view) => {
          const inner = view.firstElementChild;
          // Called after the page's own observer, in the same frame: the page is at the end, and its scroll event is still to come.
          const observer = new ResizeObserver(() => {
            observer.disconnect();
            view.scrollTop -= 100;
          });
          observer.observe(inner);
          inner.style.minHeight = `${inner.offsetHeight + 500}px`;
        }"""
    )
    await expect(ada.page.get_by_role("button", name="Jump to newest")).to_be_visible()
    top = await view.evaluate("(e) => e.scrollTop")
    await ada.text_grows_past(1_400)
    assert await view.evaluate("(e) => e.scrollTop") == top
    await ada.page.get_by_role("button", name="Stop the answer").last.click()
    await expect(ada.answer_is("cancelled")).to_be_visible()


async def test_older_messages_come_when_they_are_wanted(site: Site, arrive: Arrive) -> None:
    """A long conversation opens at its end; scrolling up brings the earlier pages, and the place one reads stays where it is."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    conversation = await ada.start("Message 0", title="Long")
    token = next(cookie["value"] for cookie in await ada.context.cookies() if cookie["name"] == "CSRF-TOKEN")
    await ada.context.request.patch(
        f"{site.url}/api/conversations/{conversation}", data={"assistant_mode": "off"}, headers={"X-CSRF-TOKEN": token}
    )
    for number in range(1, 80):
        answer = await ada.context.request.post(
            f"{site.url}/api/conversations/{conversation}/messages",
            data={"content": f"Message {number}"},
            headers={"X-CSRF-TOKEN": token},
        )
        assert answer.status == 201
    await ada.page.reload()
    await expect(ada.messages).to_have_count(60)
    await expect(ada.messages.last).to_contain_text("Message 79")
    await ada.page.get_by_role("log").hover()
    await ada.page.mouse.wheel(0, -20_000)
    await expect(ada.messages).to_have_count(81)
    await expect(ada.messages.first).to_contain_text("Message 0")
    # What was at the top when the earlier page came, still is on the screen.
    await expect(ada.messages.get_by_text("Message 20", exact=True)).to_be_in_viewport()
    await expect(ada.messages.first).not_to_be_in_viewport()


async def test_ear_hears_sentences_and_no_tokens(slow_site: Site, arrive: Arrive) -> None:
    """The live region says that an answer began and that it is finished, and nothing of the text in between."""
    ada = await arrive(slow_site.url)
    await ada.set_up("Ada")
    await ada.page.evaluate(
        """() => {
          window.heard = [];
          const region = [...document.querySelectorAll("[aria-live=polite]")].at(-1);
          new MutationObserver(() => window.heard.push(region.textContent.replaceAll("\\u200b", ""))).observe(region, {
            childList: true, characterData: true, subtree: true,
          });
        }"""
    )
    await ada.start("Hello.", title="Ears")
    await expect(ada.answer_is("complete")).to_be_visible()
    await ada.page.evaluate("window.heard.length = 0")
    await ada.say("Please count to 40")
    await expect(ada.answer_is("complete")).to_contain_text("39 40")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await ada.page.evaluate("window.heard.at(-1)") != "The answer is finished.":
            await ada.page.evaluate("new Promise(requestAnimationFrame)")
    assert await ada.page.evaluate("window.heard") == ["The assistant is answering.", "The answer is finished."]
    assert await ada.page.get_by_role("log").get_attribute("aria-live") == "off"


async def test_new_topic_and_reply_decide_what_is_answered(site: Site, arrive: Arrive) -> None:
    """A message continues from the newest one, starts a thread of its own as a new topic, or answers the one that was chosen."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    conversation = await ada.start("Please count to 2", title="Threads")
    await expect(ada.answer_is("complete")).to_be_visible()
    await ada.say("Please count to 3")
    await expect(ada.messages).to_have_count(4)
    await ada.page.get_by_role("button", name="New topic").click()
    await ada.say("Please count to 4")
    await expect(ada.page.get_by_text("New topic by Ada")).to_be_visible()
    await expect(ada.messages).to_have_count(6)
    await ada.messages.first.get_by_role("button", name="Reply").click()
    await ada.say("Please count to 5")
    await expect(ada.messages).to_have_count(8)
    await expect(ada.messages.nth(6).get_by_role("button", name="In reply to")).to_be_visible()
    items = (await (await ada.context.request.get(f"{site.url}/api/conversations/{conversation}/messages")).json())["items"]
    first, answer, second, _, topic, _, reply, _ = reversed(items)
    assert (second["parent_id"], second["root_id"]) == (answer["id"], first["id"])
    assert (topic["parent_id"], topic["root_id"]) == (None, topic["id"])
    assert (reply["parent_id"], reply["root_id"]) == (first["id"], first["id"])
