"""Does anything answer at an address? Clients of clusters take minutes to say that nothing does."""

from __future__ import annotations

import re
import socket

from ..errors import CirbenchError

SECONDS = 10
"""How long an answer may take."""


def check(address: str, system: str, example: str, printed_by: str) -> None:
    """Raise CirbenchError when ``address`` is no HOST:PORT or nothing listens there.

    Args:
        address: ``host:port`` or ``tcp://host:port``; other schemes are not tried.
        system: ``"Dask scheduler"``, for the sentence.
        example: a right one.
        printed_by: the command that prints it.
    """
    parts = re.fullmatch(r"(?:(\w+)://)?\[?([^\s/\]]+?)\]?:(\d+)", address)
    if not parts:
        raise CirbenchError(f"--scheduler {address!r} is not HOST:PORT, as in {example}")
    scheme, host, port = parts.groups()
    if scheme not in (None, "tcp", "tls"):
        return
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except (OSError, OverflowError) as error:
        raise CirbenchError(
            f"no {system} answers at {address} ({error}); give --scheduler the address that "
            f"{printed_by} printed"
        ) from error
