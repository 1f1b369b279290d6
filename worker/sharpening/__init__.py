"""The algorithm: torch and arithmetic only. Begin with `step.py`, beside Algorithm 2 of arXiv 2502.12146."""
