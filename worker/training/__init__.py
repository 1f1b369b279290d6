"""The loop (a generator of events), checkpoints as bytes, the order of the prompts, the optimiser."""
