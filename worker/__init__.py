"""The GPU plane: the algorithm, its training, a worker's two sides, and the inference engine."""
