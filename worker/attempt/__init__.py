"""The parent's side of an attempt, without torch: stage inputs, start the child, keep the lease, upload, finish."""
