"""All rows, in the order of the table."""

from tests.faults.rows import workers

ROWS = (*workers.ROWS,)
