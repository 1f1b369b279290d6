"""The child's side of an attempt: reads a recipe, runs the loop, writes files, speaks over its pipes, no more."""
