"""Fixed-seed drawing, the NFE count and scoring, for samples in training, receipts and benchmarks alike."""
