"""The rival: a bare Celery task whose first line updates its row. `celery -A benchmarks.queue.bare worker`, with Celery's defaults
but for the number of processes (one). It has what a quick one has: a connection that stays open."""

import os
import subprocess
import sys

import psycopg
from celery import Celery
from celery.signals import worker_process_init

DATABASE, BROKER = "BARE_DATABASE_URL", "BARE_BROKER_URL"
TASK, QUEUE = "bare.run", "bare"
TABLES = """
CREATE TABLE bare (id bigint PRIMARY KEY, state text NOT NULL);
CREATE TABLE bare_posted (id bigint PRIMARY KEY);
"""
"""Of a row that is updated only the last commit can be asked for: the first one is kept by a row of its own."""

CHILD = "import os, sys, time; open(sys.argv[1], 'w').write(repr(time.time())); os._exit(0)"

app = Celery("bare", broker=os.environ.get(BROKER, ""), set_as_current=False)
app.conf.update(task_default_queue=QUEUE, worker_concurrency=1, broker_connection_retry_on_startup=True)
connections: list[psycopg.Connection] = []


@worker_process_init.connect(weak=False)
def connect(**_: object) -> None:
    connections.append(psycopg.connect(os.environ[DATABASE], autocommit=True))


@app.task(name=TASK)
def run(row: int, exit_path: str | None) -> None:
    """With a path: start a child that writes there when it ended, and wait for it."""
    connections[0].execute("UPDATE bare SET state = 'running' WHERE id = %s", (row,))
    if exit_path:
        subprocess.run([sys.executable, "-c", CHILD, exit_path], check=True)


def post(connection: psycopg.Connection, row: int, exit_path: str | None) -> None:
    """Commit, then send, as one does."""
    with connection.transaction():
        connection.execute("INSERT INTO bare VALUES (%s, 'queued')", (row,))
        connection.execute("INSERT INTO bare_posted VALUES (%s)", (row,))
    app.send_task(TASK, (row, exit_path))
