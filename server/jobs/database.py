"""The SQLite file of jobs: one writer at a time in this process, readers beside it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue

from server.errors import Draining
from server.jobs.errors import naming_full_disks

BUSY_S = 10.0  # for another process that writes
VERSION = 1
SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key_name TEXT NOT NULL,
    type TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    idempotency_key TEXT,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    postponed INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    progress REAL NOT NULL DEFAULT 0,
    stage TEXT,
    created REAL NOT NULL,
    not_before REAL NOT NULL,
    started REAL,
    finished REAL,
    error TEXT,
    result TEXT,
    bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX once ON jobs (key_name, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX by_state ON jobs (state, key_name, seq);
CREATE INDEX by_key ON jobs (key_name, started);
CREATE TABLE deliveries (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL,
    error TEXT
);
"""


class Database:
    """Opens, or makes, the file at `path`; closed, it takes no more calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._readers: LifoQueue[sqlite3.Connection] = LifoQueue()
        self._closed = False
        with naming_full_disks():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction, undone if the block fails; `durable` ones survive a loss of power."""
        with self._lock, naming_full_disks():
            self._check_open()
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk has ended it already
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from, in step with all that was committed."""
        self._check_open()
        try:
            reader = self._readers.get_nowait()
        except Empty:
            reader = self._connect()
        try:
            yield reader
        finally:
            if self._closed:
                reader.close()
            else:
                self._readers.put(reader)

    def close(self) -> None:
        """Close all connections, as soon as a running write has ended."""
        with self._lock:
            self._closed = True
            self._writer.close()
        while True:
            try:
                self._readers.get_nowait().close()
            except Empty:
                return

    def _check_open(self) -> None:
        if self._closed:
            raise Draining("The server is shutting down.", retry_after_s=10)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("BEGIN IMMEDIATE")  # so that of two servers only one makes it
        (found,) = self._writer.execute("PRAGMA user_version").fetchone()
        if found == 0:
            for statement in SCHEMA.split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version = {VERSION}")
        self._writer.execute("COMMIT")
        if found not in (0, VERSION):
            raise sqlite3.DatabaseError(
                f"{self._path} has jobs of version {found}; this server reads {VERSION}."
            )
