"""`make demo-fault`: silence a simulated device, or bring it back, through the simulator's control channel."""

import json
import urllib.error
import urllib.request

from deploy.demo.state import DemoError, Home


def run_fault(home: Home, arguments: list[str]) -> None:
    """Carry out `DEVICE`, `clear DEVICE`, or nothing (which lists what is silent)."""
    ports = home.peek().ports
    if "control" not in ports:
        raise DemoError("the demo has not been started here yet; run `make demo` first")
    base = f"http://127.0.0.1:{ports['control']}/faults"
    match arguments:
        case []:
            answer = _call("GET", base)
        case ["clear", device]:
            answer = _call("DELETE", f"{base}/{device}")
        case [device]:
            answer = _call("PUT", f"{base}/{device}", {"kind": "silent"})
        case _:
            raise DemoError("say which device: make demo-fault DEVICE=meter-t201, or with CLEAR=1 to bring it back")
    print(json.dumps(answer, ensure_ascii=False, indent=1))


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
