"""Ports for a demo that no other program and no other demo has, even one that starts at the same moment."""

import socket

# Below the range from which Linux takes ports of outgoing connections, which could otherwise sit on a chosen one.
FIRST_PORT = 15_020
LAST_PORT = 31_999


class PortClaims:
    """The ports this process has chosen, kept from other demos until `release`, or until the process ends.

    A demo chooses its ports minutes before its last process listens there, so looking whether somebody listens is not
    enough. A claim is a name in Linux's abstract socket namespace: it ends with its process, leaves no file behind, and
    is seen as far as the port itself, within one network namespace.
    """

    def __init__(self) -> None:
        self._claims: dict[int, socket.socket] = {}

    def claim(self, first: int, count: int = 1) -> bool:
        """Claim `count` ports from `first` on, all or none; return whether they are this process's now."""
        row = range(first, first + count)
        if first <= 0 or any(port in self._claims for port in row):
            return False
        claims = {port: _claimed(port) for port in row if is_free(port)}
        if len(claims) == count and all(claims.values()):
            self._claims |= {port: claim for port, claim in claims.items() if claim}
            return True
        for claim in claims.values():
            if claim:
                claim.close()
        return False

    def claim_somewhere(self, count: int = 1) -> int | None:
        """Claim the lowest `count` ports in a row that are to be had, and return the first, if any."""
        firsts = range(FIRST_PORT, LAST_PORT + 2 - count, count)
        return next((first for first in firsts if self.claim(first, count)), None)

    def release(self) -> None:
        """Let other demos have the ports."""
        for claim in self._claims.values():
            claim.close()
        self._claims.clear()


def is_free(port: int) -> bool:
    """Return whether a server may listen on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _claimed(port: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0wattlease-demo-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim
