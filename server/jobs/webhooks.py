"""Telling callers that their jobs have ended, again and again until they have heard it."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from server.errors import ServerError
from server.fetch import open_client
from server.fetch_policy import FetchPolicy
from server.jobs.changes import Changes
from server.jobs.database import Database
from server.jobs.moves import get_job
from server.jobs.records import Job

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 8
FIRST_DELAY_S = 5.0  # doubled after each attempt: the last is 11 minutes after the first
LEASE_S = 60.0  # for one attempt; when a server dies in it, another one tries again after that
IDLE_S = 5.0

Describe = Callable[[Job], Mapping[str, Any]]


class Webhooks:
    """Sends what is due, in a thread of its own after `start`; `describe` is the body's form."""

    def __init__(
        self,
        database: Database,
        policy: FetchPolicy,
        secret: str,
        describe: Describe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._policy = policy
        self._secret = secret.encode()
        self._describe = describe
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, changes: Changes) -> None:
        """Send from now on, when a job has ended and when it is time for another attempt."""
        self._thread = threading.Thread(
            target=self._work, args=(changes,), name="webhooks", daemon=True
        )
        self._thread.start()

    def stop(self, changes: Changes, timeout_s: float) -> None:
        """Begin no other attempt; what is not delivered waits for the next start."""
        self._stopping.set()
        changes.tell()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def deliver_due(self) -> int:
        """Make an attempt for each delivery that is due; how many that were."""
        due = self._due()
        for job_id in due:
            if not self._stopping.is_set():
                self._attempt(job_id)
        return len(due)

    def _work(self, changes: Changes) -> None:
        while not self._stopping.is_set():
            seen = changes.version()
            try:
                self.deliver_due()
            except Exception:
                logger.exception("Webhooks could not be sent; that goes on later.")
            if not self._stopping.is_set():
                changes.wait(seen, IDLE_S)

    def _due(self) -> list[str]:
        query = "SELECT job_id FROM deliveries WHERE state = 'pending' AND next_at <= ?"
        with self._database.read() as rows:
            return [row["job_id"] for row in rows.execute(query, (self._clock(),))]

    def _attempt(self, job_id: str) -> None:
        job = self._lease(job_id)
        if job is None or job.delivery is None or job.order.webhook_url is None:
            return
        problem = self._send(job, job.order.webhook_url)
        delay_s = FIRST_DELAY_S * 2.0 ** (job.delivery.attempts - 1)
        state = "delivered" if problem is None else "pending"
        if problem is not None and job.delivery.attempts >= MOST_ATTEMPTS:
            state = "failed"
        logger.info("Webhook of job %s: %s", job.id, problem or "delivered")
        with self._database.write() as rows:
            rows.execute(
                "UPDATE deliveries SET state = ?, next_at = ?, error = ? "
                "WHERE job_id = ? AND attempts = ?",
                (state, self._clock() + delay_s, problem, job.id, job.delivery.attempts),
            )

    def _lease(self, job_id: str) -> Job | None:
        """Count the attempt before it is made, so that no other server makes it too."""
        now = self._clock()
        query = (
            "UPDATE deliveries SET attempts = attempts + 1, next_at = ? "
            "WHERE job_id = ? AND state = 'pending' AND next_at <= ?"
        )
        with self._database.write() as rows:
            if rows.execute(query, (now + LEASE_S, job_id, now)).rowcount == 0:
                return None
            return get_job(rows, job_id)

    def _send(self, job: Job, url: str) -> str | None:
        """Why it was not delivered, if so."""
        body = json.dumps(self._describe(job), ensure_ascii=False).encode()
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "voice-server",
            "X-Job-Id": job.id,
            "X-Timestamp": timestamp,
            "X-Signature": f"sha256={sign(self._secret, timestamp, body)}",
        }
        try:
            with (
                open_client(self._policy) as client,
                client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{type(error).__name__}: the address did not answer."
        except ServerError as error:
            return error.message
        return None if 200 <= status < 300 else f"It was answered {status}."


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The HMAC-SHA256 of timestamp, dot and body, in hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
