"""The gRPC face: translates messages, calls one operation, translates back."""
