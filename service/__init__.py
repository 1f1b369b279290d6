"""The control plane: everything that runs without a GPU and without torch."""
