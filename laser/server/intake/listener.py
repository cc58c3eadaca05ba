"""The address that a server listens on. Imports little: it is taken before all else is imported."""

from __future__ import annotations

import socket

from models.errors import LaserError

BACKLOG = 2048  # connections that may wait


class ServingError(LaserError):
    """The address cannot be listened on, the server could not be started, or its engine is broken."""


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; clients wait until it is served. Raises ServingError if another one listens."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServingError(f"host {host!r} cannot be used: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # at once: two servers may bind one address, and only one may listen
    except OSError as error:
        listener.close()
        raise ServingError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Returns the URL at which a client of this machine reaches a listener."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
