"""Publishes deltas to another server by HTTP, at a steady rate: `python -m tests.benchmarks.publisher URL PER_SECOND`, until ended."""

import http.client
import itertools
import sys
import time
from urllib.parse import urlsplit

from tests.benchmarks.events import Deltas
from tests.benchmarks.processes import pass_time

HEADERS = {"X-EventSource-Event": "message.delta", "Content-Type": "application/json"}
ANSWER_SECONDS = 10.0


def main() -> None:
    url, per_second = urlsplit(sys.argv[1]), float(sys.argv[2])
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=ANSWER_SECONDS)
    deltas, began_at = Deltas(), time.monotonic()
    for number in itertools.count(1):
        pass_time(began_at + number / per_second - time.monotonic())
        connection.request("POST", url.path, deltas.data(number), HEADERS)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{sys.argv[1]} answered {answer.status}")


if __name__ == "__main__":
    main()
