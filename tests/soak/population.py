"""Who talks where: accounts with a session each, and conversations with several members. Everything follows from the dice."""

from dataclasses import dataclass, field

from tests.person import Person
from tests.soak.run import Run

READERS_PER_ACCOUNT = 4
MEMBERS = 7
CONVERSATIONS_SHARE = 0.4
"""Conversations for each account."""


@dataclass(slots=True)
class Account:
    """Somebody with a session. *conversations* are those the account never leaves; *visits* those it is thrown out of and let in again."""

    id: str
    name: str
    headers: dict[str, str]
    conversations: list["Conversation"] = field(default_factory=list)
    visits: list["Conversation"] = field(default_factory=list)


@dataclass(slots=True)
class Conversation:
    """*has_model*: every message is answered by the demo. *guest* comes and goes."""

    id: str
    has_model: bool
    members: list[Account]
    guest: Account | None = None


@dataclass(frozen=True, slots=True)
class Population:
    """Everybody."""

    accounts: list[Account]
    conversations: list[Conversation]


async def populate(run: Run, url: str, clients: int) -> Population:
    """Make the accounts and conversations at a server."""
    people = []
    count = max(3, clients // READERS_PER_ACCOUNT)
    try:
        for number in range(count):
            person = Person(url)
            people.append(person)
            await (person.register(f"Person {number}") if number else person.set_up("Person 0"))
        accounts = [Account(person.id, f"Person {number}", _headers(person)) for number, person in enumerate(people)]
        wanted = max(3, int(count * CONVERSATIONS_SHARE))
        conversations = [await _converse(run, people, accounts, number) for number in range(wanted)]
    finally:
        for person in people:
            await person.close()
    return Population(accounts, conversations)


def _headers(person: Person) -> dict[str, str]:
    session, token = person.client.cookies["SESSION_ID"], person.client.cookies["CSRF-TOKEN"]
    return {"Cookie": f"SESSION_ID={session}; CSRF-TOKEN={token}", "X-CSRF-TOKEN": token}


async def _converse(run: Run, people: list[Person], accounts: list[Account], number: int) -> Conversation:
    """Make one conversation: every other with the model, every third with a guest."""
    places = run.dice.sample(range(len(people)), min(MEMBERS, len(people)))
    # Everybody belongs somewhere, so that no reader has nothing to read.
    places[0] = number % len(people) if number % len(people) not in places else places[0]
    owner, *others = places
    has_model = number % 2 == 0
    mode = "always" if has_model else "off"
    id_ = await people[owner].make_conversation(title=f"Conversation {number}", is_group=True, assistant_mode=mode)
    for other in others:
        await people[owner].add(id_, people[other])
    conversation = Conversation(id_, has_model, [accounts[place] for place in places])
    if number % 3 == 1 and len(places) > 2:
        conversation.guest = conversation.members.pop()
        conversation.guest.visits.append(conversation)
    for member in conversation.members:
        member.conversations.append(conversation)
    return conversation
