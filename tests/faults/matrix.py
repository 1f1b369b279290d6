"""All rows, in the order of the docs' table."""

from tests.faults.rows import callers, databases, queue, stores, training, workers

ROWS = (*workers.ROWS, *training.ROWS, *queue.ROWS, *databases.ROWS, *stores.ROWS, *callers.ROWS)
