"""`make demo-fault`: silence a simulated device, break something in the building, or mend it again.

It speaks with the simulator's control channel.
"""

import json
import urllib.error
import urllib.request

from deploy.demo.state import DemoError, Home


def run_fault(home: Home, arguments: list[str]) -> None:
    """Carry out `DEVICE [KIND [SIZE [POINT]]]`, `clear DEVICE [KIND]`, `kinds`, or nothing (lists what is broken)."""
    ports = home.peek().ports
    if "control" not in ports:
        raise DemoError("the demo has not been started here yet; run `make demo` first")
    base = f"http://127.0.0.1:{ports['control']}/faults"
    match arguments:
        case []:
            answer = _call("GET", base)
        case ["kinds"]:
            answer = _call("GET", f"{base}/kinds")
        case ["clear", device, *kind] if len(kind) <= 1:
            answer = _call("DELETE", "/".join((base, device, *kind)))
        case [device, *what] if device != "clear" and len(what) <= 3:
            answer = _call("PUT", f"{base}/{device}", _fault(*what))
        case _:
            raise DemoError(
                "say which device and, unless it shall fall silent, which fault: make demo-fault DEVICE=water-main"
                " FAULT=leak SIZE=0.5; with CLEAR=1 to mend it; `python -m deploy.demo fault kinds` lists the faults"
            )
    print(json.dumps(answer, ensure_ascii=False, indent=1))


def _fault(kind: str = "silent", size: str = "", point: str = "") -> dict[str, object]:
    try:
        return {"kind": kind, "size": float(size) if size else None, "point": point or None}
    except ValueError:
        raise DemoError(f"SIZE={size} is not a number") from None


def _call(method: str, url: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # Our own address.
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise DemoError(error.read().decode(errors="replace")) from error
    except OSError as error:
        raise DemoError(f"the simulated building does not answer ({error}); is `make demo` running?") from error
