"""Words and rules. Pure: pydantic and the standard library, no framework, no I/O."""
