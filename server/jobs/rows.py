"""Jobs as rows of the database, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from server.jobs.records import Delivery, Fault, Item, Job, Order, Result, State
from server.placement import Priority

SELECT = """
SELECT jobs.*, d.state AS delivery_state, d.attempts AS delivery_attempts,
    d.next_at AS delivery_next_at, d.error AS delivery_error
FROM jobs LEFT JOIN deliveries AS d ON d.job_id = jobs.id
"""


def order_text(order: Order) -> str:
    """What was asked, as text that `job_of` reads."""
    return json.dumps(asdict(order), ensure_ascii=False, sort_keys=True)


def record_text(record: Fault | Result | None) -> str | None:
    """A fault or a result, as text that `job_of` reads."""
    return None if record is None else json.dumps(asdict(record), ensure_ascii=False)


def job_of(row: sqlite3.Row) -> Job:
    """The job in a row of `SELECT`."""
    return Job(
        id=row["id"],
        seq=row["seq"],
        key_name=row["key_name"],
        request_hash=row["request_hash"],
        order=_order(json.loads(row["params"])),
        state=State(row["state"]),
        attempt=row["attempt"],
        interruptions=row["interruptions"],
        postponed=row["postponed"],
        owner=row["owner"],
        fence=row["fence"],
        progress=row["progress"],
        stage=row["stage"],
        created=row["created"],
        not_before=row["not_before"],
        started=row["started"],
        finished=row["finished"],
        fault=Fault(**json.loads(row["error"])) if row["error"] else None,
        result=Result(**json.loads(row["result"])) if row["result"] else None,
        size_bytes=row["bytes"],
        delivery=_delivery(row),
    )


def _order(kept: Mapping[str, Any]) -> Order:
    items = tuple(_item(item) for item in kept["items"])
    priority = Priority(kept["priority"])
    return Order(kept["kind"], items, kept["timeout_s"], kept["webhook_url"], priority)


def _item(kept: Mapping[str, Any]) -> Item:
    fault = Fault(**kept["fault"]) if kept["fault"] else None
    return Item(**{**kept, "fault": fault})


def _delivery(row: sqlite3.Row) -> Delivery | None:
    state = row["delivery_state"]
    if state is None:
        return None
    next_at = row["delivery_next_at"] if state == "pending" else None
    return Delivery(state, row["delivery_attempts"], next_at, row["delivery_error"])
