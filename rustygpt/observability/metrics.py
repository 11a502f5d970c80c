"""Every metric of the process, declared in this file and nowhere else.

Base units only (seconds, bytes, counts). Label values come from closed sets: what is not in the set counts as "other", so no
request, however strange, can add series without bound. No label ever holds a user, conversation, key, address or raw path.
An attribute has the exported name without the prefix `rustygpt_`; each family exists, at zero, from the start.
"""

from collections.abc import Sequence
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from rustygpt.observability.closed_labels import OTHER, Closed
from rustygpt.observability.shared_metrics import shared_registry

GaugeMode = Literal["livesum", "livemax", "livemostrecent"]

UNMATCHED_ROUTE: Final = "unmatched"
OTHER_METHOD: Final = "OTHER"
MAX_MODELS: Final = 64
MAX_LIMITED_ROUTES: Final = 256
"""Distinct (provider, model) pairs that get a series of their own; later ones count as "other"."""

HTTP_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
EVENT_TYPES: Final = (
    "thread.new",
    "thread.activity",
    "message.created",
    "message.edited",
    "message.deleted",
    "message.restored",
    "message.delta",
    "message.done",
    "message.continued",
    "generation.queued",
    "presence.update",
    "typing.update",
    "unread.update",
    "membership.changed",
    "conversation.updated",
    "error",
    "stream.ready",
    "stream.gap",
)
GAP_REASONS: Final = ("history_pruned", "unknown_cursor", "backfill_limit", "slow_consumer")
RESUME_OUTCOMES: Final = ("live", "ring", "log", "gap")
GENERATION_OUTCOMES: Final = ("stop", "length", "cancelled", "timeout", "error", "interrupted")
LOGIN_METHODS: Final = ("password", "setup", "register", "github", "apple")
LOGIN_RESULTS: Final = ("success", "invalid_credentials", "refused", "disabled", "limited", "error")
ROTATION_REASONS: Final = ("refresh", "password_change", "privilege_change")
SCRIPT_KINDS: Final = ("migration", "procedure", "seed")
SCRIPT_RESULTS: Final = ("applied", "unchanged", "failed")
REFUSAL_REASONS: Final = ("malformed", "head_too_large", "head_too_slow")
CHECK_RESULTS: Final = ("ok", "failed")
POOL_STATES: Final = ("idle", "used")

_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# 0.06 is there because the budget of publish → client is a p99 of 60 ms.
_STREAM_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_WAIT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_BATCH_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics of one process on one registry; `Metrics()` makes its own, so nothing is global, except among workers."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # `_created` doubles the series, and nobody asks for it
        self.registry = registry if registry is not None else CollectorRegistry()
        self._models: set[tuple[str, str]] = set()
        self._limited_routes: set[str] = set()
        self._declare_http()
        self._declare_streams()
        self._declare_slow_readers()
        self._declare_processes()
        self._declare_auth()
        self._declare_generations()
        self._declare_database()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def scraped(self) -> CollectorRegistry:
        """Return the registry that a scrape shows: this process's, or the sum of all workers' at this moment."""
        return shared_registry() or self.registry

    def http_answered(self, method: str, route: str, status: int) -> None:
        """Count one answer. *route* is a template such as `/api/messages/{message_id}`, or UNMATCHED_ROUTE."""
        self.http_requests_total.labels(self.method_label(method), route, str(status)).inc()

    def http_took(self, method: str, route: str, seconds: float) -> None:
        """Record the duration of one finished request; event streams are not recorded, they last as long as the reader likes."""
        self.http_request_duration_seconds.labels(self.method_label(method), route).observe(seconds)

    def rate_limited(self, route: str, decision: str) -> None:
        """Count one decision of the rate limiter: allowed, limited or failed_open. The first MAX_LIMITED_ROUTES routes keep their names."""
        if route not in self._limited_routes:
            if len(self._limited_routes) >= MAX_LIMITED_ROUTES:
                route = OTHER
            self._limited_routes.add(route)
        self.http_rate_limit_requests_total.labels(route, decision).inc()

    @staticmethod
    def method_label(method: str) -> str:
        """Return the method, or "OTHER" for one that HTTP clients made up."""
        return method if method in HTTP_METHODS else OTHER_METHOD

    def generation_ended(self, provider: str, model: str, outcome: str) -> None:
        """Count one finished generation; *outcome* is one of GENERATION_OUTCOMES. The first MAX_MODELS models keep their names.

        Empty names are for a generation of which nobody knows who began it.
        """
        provider, model = self._model_labels(provider, model)
        self._generations.labels(provider, model, outcome if outcome in GENERATION_OUTCOMES else OTHER).inc()

    def _model_labels(self, provider: str, model: str) -> tuple[str, str]:
        pair = (provider or OTHER, model or OTHER)  # to Prometheus an empty label is no label
        if pair not in self._models:
            if len(self._models) >= MAX_MODELS or len(model) > 128 or len(provider) > 32:
                return OTHER, OTHER
            self._models.add(pair)
            for outcome in GENERATION_OUTCOMES:  # a series that begins with 1 hides its first failure from rate()
                self._generations.labels(*pair, outcome)
        return pair

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str, of_workers: GaugeMode = "livesum") -> Gauge:
        """*of_workers*: what several worker processes show together; a dead one's value is always forgotten."""
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=of_workers)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _declare_http(self) -> None:
        self.http_requests_total = self._counter(
            "http_requests_total",
            "HTTP answers by method, route template and status; a request whose client left before the answer counts as 499.",
            *("method", "route", "status"),
        )
        self.http_request_duration_seconds = self._histogram(
            "http_request_duration_seconds",
            "Seconds from the request's head to the answer's last byte, event streams excepted.",
            _REQUEST_SECONDS,
            *("method", "route"),
        )
        self.http_rate_limit_requests_total = self._counter(
            "http_rate_limit_requests_total",
            "Requests that fell under a rate limit, by the assignment's route and what was decided: allowed, limited, failed_open.",
            *("route", "decision"),
        )
        self.limits_profiles = self._gauge("rustygpt_limits_profiles", "Rate limit profiles.", of_workers="livemostrecent")
        self.limits_assignments = self._gauge(
            "rustygpt_limits_assignments", "Routes that a rate limit profile is assigned to.", of_workers="livemostrecent"
        )
        self.http_connections_refused_total = Closed(
            self._counter(
                "http_connections_refused_total", "Connections closed because no request could be made of what came.", "reason"
            ),
            reason=REFUSAL_REASONS,
        )
        self.health_checks_total = Closed(
            self._counter("health_checks_total", "Answers of the probes /healthz and /readyz.", "probe", "result"),
            probe=("healthz", "readyz"),
            result=CHECK_RESULTS,
        )

    def _declare_streams(self) -> None:
        self.sse_events_sent_total = Closed(
            self._counter("sse_events_sent_total", "Events handed to subscribers' sockets, one per subscriber.", "type"),
            type=EVENT_TYPES,
        )
        self.sse_subscribers = Closed(
            self._gauge("sse_subscribers", "Open event streams.", "stream"), stream=("user", "conversation")
        )
        self.sse_resume_total = Closed(
            self._counter(
                "sse_resume_total",
                "Streams opened, by where they began: live (no cursor), ring, log, or gap (the cursor could not be honoured).",
                "outcome",
            ),
            outcome=RESUME_OUTCOMES,
        )
        self.sse_gap_total = Closed(self._counter("sse_gap_total", "Announced holes (stream.gap).", "reason"), reason=GAP_REASONS)
        self.sse_commit_batch_size = self._histogram(
            "sse_commit_batch_size", "Events in one commit of the event log.", _BATCH_EVENTS
        )
        self.sse_commit_seconds = self._histogram(
            "sse_commit_seconds", "Seconds of one commit of the event log.", _STREAM_SECONDS
        )
        self.sse_publish_to_send_seconds = self._histogram(
            "sse_publish_to_send_seconds",
            "Seconds from an event's commit to its hand-over to a subscriber's socket; one send in 64 is timed.",
            _STREAM_SECONDS,
        )
        self.sse_replay_events_total = Closed(
            self._counter("rustygpt_sse_replay_events_total", "Events replayed from the log to subscribers.", "type"),
            type=EVENT_TYPES,
        )
        self.sse_replay_duration_seconds = self._histogram(
            "rustygpt_sse_replay_duration_seconds", "Seconds from a resume to its arrival at the head.", _WAIT_SECONDS
        )

    def _declare_slow_readers(self) -> None:
        self.sse_events_dropped_total = Closed(
            self._counter("sse_events_dropped_total", "Events left out for a slow reader, after a stream.gap.", "type", "reason"),
            type=("message.delta", "thread.activity", "presence.update", "typing.update"),
            reason=("slow_consumer",),
        )
        self.sse_events_coalesced_total = self._counter(
            "sse_events_coalesced_total", "Events that a slow reader got merged into others."
        )
        self.sse_queue_depth = self._gauge("sse_queue_depth", "Events in memory that open streams have not been sent, in all.")
        self.sse_queue_occupancy_ratio = self._gauge(
            "sse_queue_occupancy_ratio",
            "The slowest stream's unsent events over sse.channel_capacity; 1 is where merging begins.",
            of_workers="livemax",
        )

    def _declare_processes(self) -> None:
        self.worker_restarts_total = self._counter(
            "rustygpt_worker_restarts_total", "Worker processes that ended unasked and were started again."
        )
        self.bus_reconnects_total = self._counter(
            "bus_reconnects_total", "Times that the connection to the other processes was lost and made again."
        )

    def _declare_auth(self) -> None:
        self.auth_logins_total = Closed(
            self._counter("rustygpt_auth_logins_total", "Attempts to sign in.", "method", "result"),
            method=LOGIN_METHODS,
            result=LOGIN_RESULTS,
        )
        self.auth_session_rotations_total = Closed(
            self._counter("rustygpt_auth_session_rotations_total", "Session tokens replaced.", "reason"),
            reason=ROTATION_REASONS,
        )
        self.auth_active_sessions = self._gauge(
            "rustygpt_auth_active_sessions",
            "Sessions neither expired nor revoked, as last counted by maintenance.",
            of_workers="livemostrecent",
        )

    def _declare_generations(self) -> None:
        self._generations = self._counter("rustygpt_generations_total", "Generations ended.", "provider", "model", "outcome")
        self.generation_queue_seconds = self._histogram(
            "rustygpt_generation_queue_seconds", "Seconds a generation waited to be claimed.", _WAIT_SECONDS
        )
        self.generation_first_token_seconds = self._histogram(
            "rustygpt_generation_first_token_seconds", "Seconds from the claim to the first delta.", _WAIT_SECONDS
        )
        self.generation_tokens_total = Closed(
            self._counter("rustygpt_generation_tokens_total", "Tokens read and written by models.", "kind"),
            kind=("prompt", "completion"),
        )
        self.generations_running = self._gauge("rustygpt_generations_running", "Generations at work in this process.")
        self.stream_cancels_total = self._counter("rustygpt_stream_cancels_total", "Generations stopped by a person.")
        self.stream_timeouts_total = self._counter("rustygpt_stream_timeouts_total", "Generations stopped by their deadline.")
        self.stream_cancel_latency_seconds = self._histogram(
            "rustygpt_stream_cancel_latency_seconds", "Seconds from the request to cancel to message.done.", _WAIT_SECONDS
        )

    def _declare_database(self) -> None:
        self.db_bootstrap_scripts_total = Closed(
            self._counter("db_bootstrap_scripts_total", "SQL scripts met at start-up.", "kind", "result"),
            kind=SCRIPT_KINDS,
            result=SCRIPT_RESULTS,
        )
        self.db_bootstrap_duration_seconds = self._histogram(
            "db_bootstrap_duration_seconds", "Seconds of the schema's preparation at start-up.", _WAIT_SECONDS
        )
        self.db_liveness_checks_total = Closed(
            self._counter("db_liveness_checks_total", "Checks that PostgreSQL answers.", "result"), result=CHECK_RESULTS
        )
        self.db_readiness_checks_total = Closed(
            self._counter("db_readiness_checks_total", "Checks that the schema is the one this code needs.", "result"),
            result=CHECK_RESULTS,
        )
        self.db_pool_connections = Closed(
            self._gauge("db_pool_connections", "Connections of the pool.", "state"), state=POOL_STATES
        )
