"""Ports, checked before anything has started."""

import socket


def refuse_taken_port(name: str, host: str, port: int) -> None:
    """SystemExit with a sentence that names the setting, where somebody listens there already. Port 0 is always free."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SystemExit(
                f"strop: cannot listen on {host}:{port} ({error.strerror}); set {name} to a free port"
            ) from None
