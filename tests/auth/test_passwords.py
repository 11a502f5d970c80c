"""Argon2id: off the loop, bounded, renewed; and changing one's password."""

import asyncio
import os
import sys
import threading

import pytest
from argon2 import PasswordHasher

from rustygpt.auth import passwords as passwords_module
from rustygpt.auth.passwords import MAX_OF_ONE, NICENESS, Passwords
from rustygpt.auth.procedures import open_session
from rustygpt.errors import InvalidCredentials, Unavailable
from rustygpt.settings import AuthSettings
from rustygpt.tokens import new_token, token_hash
from tests.auth.conftest import MakeSite
from tests.auth.site import ADMIN, FAST_ARGON2, Browser, Site
from tests.person import DEADLINE_SECONDS

NEW = "battery staple"


@pytest.fixture
def passwords():
    opened = Passwords(AuthSettings(**{**FAST_ARGON2, "argon2_threads": 1}))
    opened.open()
    yield opened
    opened.close()


class _Gate:
    """Stands in for the hasher's work: each job says that it runs, and waits to be let go."""

    def __init__(self) -> None:
        self.running = threading.Semaphore(0)
        self.go = threading.Event()
        self.threads: set[str] = set()

    def __call__(self) -> str:
        self.threads.add(threading.current_thread().name)
        self.running.release()
        assert self.go.wait(DEADLINE_SECONDS)
        return "done"


async def test_hashing_leaves_the_loop_free(passwords: Passwords) -> None:
    """While a job runs in a thread of its own, the loop runs on; no more than `argon2_threads` run at once."""
    gate = _Gate()
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(passwords._run(gate)) for _ in range(3)]
        assert await asyncio.to_thread(gate.running.acquire, timeout=DEADLINE_SECONDS)
        assert not gate.running.acquire(blocking=False), "one thread, so one job"
        gate.go.set()
    assert [job.result() for job in jobs] == ["done"] * 3
    assert gate.threads == {"argon2_0"}


async def test_login_hashes_in_a_thread(site: Site, ada: Browser, monkeypatch) -> None:
    """A login's Argon2 work never runs on the loop's thread."""
    names: list[str] = []
    verify = PasswordHasher.verify

    def spied(self, known_hash, password):
        names.append(threading.current_thread().name)
        return verify(self, known_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", spied)
    await site.browser().log_in()
    assert len(names) == 1
    assert names[0].startswith("argon2")


async def test_a_crowd_is_told_to_come_back(monkeypatch) -> None:
    """Beyond MAX_PENDING a job is refused with Retry-After, and accepted again when the crowd is gone."""
    monkeypatch.setattr(passwords_module, "MAX_PENDING", 2)
    passwords = Passwords(AuthSettings(**{**FAST_ARGON2, "argon2_threads": 1}))
    passwords.open()
    gate = _Gate()
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(passwords._run(gate)) for _ in range(2)]
        assert await asyncio.to_thread(gate.running.acquire, timeout=DEADLINE_SECONDS)
        with pytest.raises(Unavailable) as caught:
            await passwords.hash("x")
        assert caught.value.retry_after_seconds == 2
        gate.go.set()
    assert len(jobs) == 2
    assert await passwords.hash("x")
    passwords.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_hashing_threads_let_the_loop_go_first(passwords: Passwords) -> None:
    """A thread that hashes is nicer than the loop's; nothing else of the process is."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert await passwords._run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == before + NICENESS
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


async def test_a_flood_from_one_network_holds_nobody_else_up(passwords: Passwords, monkeypatch) -> None:
    """However many of one source wait, who comes from elsewhere is next; and the flood cannot fill the queue."""
    gate, order = _Gate(), []
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(passwords._run(gate, "flood"))
        assert await asyncio.to_thread(gate.running.acquire, timeout=DEADLINE_SECONDS)
        for _ in range(MAX_OF_ONE - 1):
            tasks.create_task(passwords._run(lambda: order.append("flood"), "flood"))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await passwords.hash("x", "flood")
        tasks.create_task(passwords._run(lambda: order.append("other"), "elsewhere"))
        await asyncio.sleep(0)
        gate.go.set()
    assert order.index("other") <= 1
    assert len(order) == MAX_OF_ONE


async def test_waiting_has_a_deadline(passwords: Passwords, monkeypatch) -> None:
    """Who waits too long gets 503, and the job that did not begin never does."""
    monkeypatch.setattr(passwords_module, "DEADLINE_SECONDS", 0.05)
    gate, late = _Gate(), _Gate()
    async with asyncio.timeout(DEADLINE_SECONDS):
        for job in (gate, late):
            with pytest.raises(Unavailable):
                await passwords._run(job)
    gate.go.set()
    monkeypatch.setattr(passwords_module, "DEADLINE_SECONDS", DEADLINE_SECONDS)
    assert await passwords._run(lambda: "next") == "next"
    assert late.threads == set()


async def test_closed_passwords_refuse(passwords: Passwords) -> None:
    """After close a late request is told that the server cannot."""
    passwords.close()
    with pytest.raises(Unavailable):
        await passwords.hash("x")


async def test_hashes_are_salted_and_checked(passwords: Passwords) -> None:
    """Two hashes of one password differ and both match; garbage and nobody match nothing."""
    first, second = await passwords.hash("x"), await passwords.hash("x")
    assert first != second
    assert (await passwords.check("x", first)).is_right
    assert not (await passwords.check("y", first)).is_right
    assert not (await passwords.check("x", "no hash")).is_right
    assert not (await passwords.check("x", None)).is_right


async def test_hash_is_renewed_at_login_when_parameters_changed(make_site: MakeSite, owner) -> None:
    """The same password keeps working, and is stored with the new parameters after one login."""
    await make_site().browser().post("/api/setup", ADMIN)
    site = make_site(auth={"argon2_memory_kib": 16})
    stored = "select password_hash from rustygpt.users"
    assert "m=8," in await owner.fetchval(stored)
    assert (await site.browser().log_in()).status_code == 200
    renewed = await owner.fetchval(stored)
    assert "m=16," in renewed
    assert (await site.browser().log_in()).status_code == 200
    assert await owner.fetchval(stored) == renewed


async def test_password_change_rotates_and_ends_the_others(site: Site, ada: Browser) -> None:
    """The new password counts, the old does not; this session has a new token, the others are out and told."""
    phone, token = site.browser(), ada.token
    await phone.log_in()
    phone_id = (await phone.get("/api/auth/me")).json()["session"]["id"]
    answer = await ada.post("/api/auth/password", {"current_password": ADMIN["password"], "new_password": NEW})
    assert answer.status_code == 200
    assert answer.headers["X-Session-Rotated"] == "1"
    assert set(answer.json()) == {"user", "session", "csrf_token"}
    assert ada.token != token
    assert (await ada.get("/api/auth/me")).status_code == 200
    assert (await phone.get("/api/auth/me")).status_code == 401
    assert (await site.browser().get("/api/auth/me", headers={"Cookie": f"SESSION_ID={token}"})).status_code == 401
    assert site.announcer.signals == [("session_revoked", phone_id)]
    assert (await site.browser().log_in()).status_code == 401
    assert (await site.browser().log_in(password=NEW)).status_code == 200
    assert site.count("rustygpt_auth_session_rotations_total", reason="password_change") == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"current_password": "wrong one", "new_password": NEW}, 401, "RGP.AUTH.INVALID_CREDENTIALS"),
        ({"current_password": ADMIN["password"], "new_password": "short"}, 422, "RGP.VALIDATION"),
        ({"current_password": ADMIN["password"], "new_password": "x" * 1025}, 422, "RGP.VALIDATION"),
        ({"current_password": ADMIN["password"]}, 422, "RGP.VALIDATION"),
        ({"current_password": 1, "new_password": NEW}, 422, "RGP.VALIDATION"),
    ],
)
async def test_refused_password_change_changes_nothing(
    site: Site, ada: Browser, owner, body: dict[str, object], status: int, code: str
) -> None:
    """The code says why; hash, tokens and other sessions stay."""
    phone = site.browser()
    await phone.log_in()
    before = await owner.fetchval("select password_hash from rustygpt.users")
    answer = await ada.post("/api/auth/password", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await owner.fetchval("select password_hash from rustygpt.users") == before
    assert (await phone.get("/api/auth/me")).status_code == 200
    assert (await ada.post("/api/auth/refresh")).status_code == 200


async def test_password_changes_that_race_have_one_winner(site: Site, ada: Browser) -> None:
    """Two browsers that change the password at once: one succeeds, and its password is the one that works."""
    phone = site.browser()
    await phone.log_in()
    old = ADMIN["password"]
    answers = await asyncio.gather(
        ada.post("/api/auth/password", {"current_password": old, "new_password": "from the desk"}),
        phone.post("/api/auth/password", {"current_password": old, "new_password": "from the phone"}),
    )
    statuses = [answer.status_code for answer in answers]
    assert min(statuses) == 200
    assert max(statuses) in {401, 409}
    winner = ["from the desk", "from the phone"][statuses.index(200)]
    assert (await site.browser().log_in(password=winner)).status_code == 200


async def test_login_that_races_a_password_change_is_refused(site: Site, ada: Browser, database, owner) -> None:
    """A password that was right when checked and is not any more opens no session."""
    row = await owner.fetchrow("select id, password_hash from rustygpt.users")
    await ada.post("/api/auth/password", {"current_password": ADMIN["password"], "new_password": NEW})
    with pytest.raises(InvalidCredentials):
        await open_session(
            database,
            user=row["id"],
            token_hash=token_hash(new_token()),
            known_hash=row["password_hash"],
            idle_seconds=60,
            absolute_seconds=60,
            max_sessions=5,
            replaces=None,
            user_agent=None,
            ip=None,
        )
