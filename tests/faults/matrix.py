"""All rows, in the order of the table."""

from tests.faults.rows import databases, queue, stores, workers

ROWS = (*workers.ROWS, *queue.ROWS, *databases.ROWS, *stores.ROWS)
