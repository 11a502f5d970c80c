"""What signing in reads from a request and answers, whichever way in it was. No answer holds the session's token: that is in its cookie."""

from typing import Any

from starlette.requests import Request

from rustygpt.auth.actor import SessionActor, find_actor
from rustygpt.auth.csrf import csrf_token
from rustygpt.auth.models import SignedInUser
from rustygpt.auth.sign_in import Caller, SignedIn


def caller_of(request: Request) -> Caller:
    """Return where a sign-in comes from."""
    actor = find_actor(request)
    user_agent = "".join(c for c in request.headers.get("user-agent", "") if c.isprintable())[:256]
    return Caller(
        user_agent=user_agent or None,
        ip=request.client.host[:64] if request.client else None,
        session_id=actor.session_id if isinstance(actor, SessionActor) else None,
    )


def sign_in_answer(signed_in: SignedIn) -> dict[str, Any]:
    """Return the body of every successful sign-in."""
    return {
        "user": user_answer(signed_in.user),
        "session": session_answer(signed_in.user),
        "csrf_token": csrf_token(signed_in.token),
    }


def user_answer(user: SignedInUser) -> dict[str, Any]:
    """Return a user as they may see themselves."""
    return {
        "id": user.user_id,
        "email": user.email,
        "display_name": user.display_name,
        "role": user.role,
        "status": user.status,
        "created_at": user.created_at,
    }


def session_answer(user: SignedInUser) -> dict[str, Any]:
    """Return a session without its token."""
    return {
        "id": user.session_id,
        "issued_at": user.issued_at,
        "expires_at": user.expires_at,
        "absolute_expires_at": user.absolute_expires_at,
    }
