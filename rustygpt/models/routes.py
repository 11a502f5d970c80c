"""`/api/models…`: everybody sees the models, administrators change them. A key needs the scope `admin` for what is theirs."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of, admin_of
from rustygpt.database.call import Caller
from rustygpt.errors import Conflict, Invalid
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.models.library import Library
from rustygpt.models.orders import Orders
from rustygpt.models.procedures import cancel_model_job, get_model_job, list_model_jobs
from rustygpt.models.progress import ProgressStreams
from rustygpt.models.upload import Uploads
from rustygpt.models.wire import JOB, Job, JobPage, ModelDetails, Models, PullBody, UploadForm
from rustygpt.operation import Answer, Parameter, operation
from rustygpt.signals import Announcer

CURSOR_KIND: Final = "model_jobs"
EVENT_STREAM: Final = "text/event-stream"
MODEL_ID: Final = Parameter("model_id", str, "Its id, or `provider/id`; it may have slashes.")


class ModelRoutes:
    """The library over HTTP."""

    def __init__(
        self,
        database: Caller,
        announcer: Announcer,
        cursors: PageCursors,
        library: Library,
        orders: Orders,
        uploads: Uploads,
        progress: ProgressStreams,
        max_body_bytes: int,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._cursors = cursors
        self._library = library
        self._orders = orders
        self._uploads = uploads
        self._progress = progress
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top; a model's name may have slashes, so its route comes last."""
        return [
            Route("/api/models", self.list, methods=["GET"]),
            Route("/api/models", self.upload, methods=["POST"]),
            Route("/api/models/pull", self.pull, methods=["POST"]),
            Route("/api/models/jobs", self.list_jobs, methods=["GET"]),
            Route("/api/models/jobs/{job_id}", self.job, methods=["GET"]),
            Route("/api/models/jobs/{job_id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/models/{model_id:path}", self.show, methods=["GET"]),
            Route("/api/models/{model_id:path}", self.delete, methods=["DELETE"]),
        ]

    @operation("list_models", tag="Models", who="actor", answers={200: Models})
    async def list(self, request: Request) -> Response:
        """List the models that can be asked now.

        With the default, and in a sentence why it is that and how to change it.
        """
        actor = actor_of(request)
        return json_response(await self._library.list(is_for_administrator=actor.role == "admin"))

    @operation("get_model", tag="Models", who="actor", path=(MODEL_ID,), answers={200: ModelDetails})
    async def show(self, request: Request) -> Response:
        """Tell all that is known of a model."""
        actor_of(request)
        return json_response(await self._library.show(request.path_params["model_id"]))

    @operation("delete_model", tag="Models", who="administrator", path=(MODEL_ID,), answers={204: None}, errors=(Conflict,))
    async def delete(self, request: Request) -> Response:
        """Delete a model.

        Not while it writes a reply, and not what other servers keep.
        """
        admin = admin_of(request)
        await self._library.delete(request.path_params["model_id"], actor=admin.user_id)
        return Response(status_code=204)

    @operation(
        "pull_model",
        tag="Models",
        who="administrator",
        body=PullBody,
        is_idempotent=True,
        answers={202: Answer(Job, headers=("Location",))},
        errors=(Conflict,),
    )
    async def pull(self, request: Request) -> Response:
        """Begin to pull a model.

        Or join the pull that is under way for the same model from the same source.
        """
        admin = admin_of(request)
        body = await read_body(request, PullBody, max_bytes=self._max_body_bytes)
        key = idempotency_key(request, body.client_id)
        job = await self._orders.place(body.source, name=body.name, sha256=body.sha256, actor=admin.user_id, key=key)
        self._announcer.signal("models_changed")
        return json_response(job, 202, {"Location": f"/api/models/jobs/{job['id']}"})

    @operation(
        "upload_model",
        tag="Models",
        who="administrator",
        body=UploadForm,
        body_media_type="multipart/form-data",
        answers={201: ModelDetails},
        errors=(Conflict, Invalid),
    )
    async def upload(self, request: Request) -> Response:
        """Upload a GGUF file.

        Its name is its own, so a repeated request is a conflict and never a second file.
        """
        admin = admin_of(request)
        name = await self._uploads.receive(request, UploadForm, admin.user_id)
        await self._library.changed()
        return json_response(await self._library.show(name), 201)

    @operation("list_model_jobs", tag="Models", who="administrator", query=(LIMIT, CURSOR), answers={200: JobPage})
    async def list_jobs(self, request: Request) -> Response:
        """List pulls of models, newest first."""
        admin, limit = admin_of(request), query_limit(request)
        (before,) = self._cursors.page(query_value(request, "cursor"), CURSOR_KIND, 1)
        rows = await list_model_jobs(self._database, actor=admin.user_id, before=before, limit=limit + 1)
        page = rows[:limit]
        next_cursor = self._cursors.encode(CURSOR_KIND, [page[-1].id]) if len(rows) > limit else None
        return json_response({"items": [row.job for row in page], "next_cursor": next_cursor})

    @operation("get_model_job", tag="Models", who="administrator", answers={200: JOB})
    async def job(self, request: Request) -> Response:
        """Tell how a pull is doing, once or until it is over."""
        admin, job = admin_of(request), path_uuid(request, "job_id")

        async def read() -> dict[str, Any]:
            return await get_model_job(self._database, actor=admin.user_id, job=job)

        first = await read()
        if EVENT_STREAM in request.headers.get("accept", ""):
            return self._progress.respond(job, first, read)
        return json_response(first)

    @operation("cancel_model_job", tag="Models", who="administrator", answers={200: Job})
    async def cancel(self, request: Request) -> Response:
        """Stop a pull.

        On whatever process it runs; twice is once.
        """
        admin, job = admin_of(request), path_uuid(request, "job_id")
        answer = await cancel_model_job(self._database, actor=admin.user_id, job=job)
        self._announcer.signal("models_changed", str(job))
        return json_response(answer)
