"""Generated from proto/strop/v1 by `make proto`; not edited."""
