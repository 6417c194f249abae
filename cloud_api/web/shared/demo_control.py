"""The simulated building's control channel, as the demo page uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from cloud_api.kit.errors import DomainError

TIMEOUT_S = 5.0


class DemoAway(DomainError):
    """The simulated building does not answer; look whether the demo is still running."""

    code = "demo_away"
    status = 503


class DemoRefused(DomainError):
    """The simulated building refuses this."""

    code = "demo_refused"
    status = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoControl:
    """Speaks to one simulator; makes no promise beyond the demo."""

    url: str

    async def state(self) -> Mapping[str, Any]:
        """Return the building's state: people present, outdoor temperature, devices, active faults."""
        return await self._ask("GET", "/state")

    async def kinds(self) -> Sequence[Mapping[str, Any]]:
        """Return what can be broken."""
        return await self._ask("GET", "/faults/kinds")

    async def break_(self, target: str, kind: str) -> None:
        """Break a device or an equipment, with the kind's usual size."""
        await self._ask("PUT", f"/faults/{quote(target, safe='')}", {"kind": kind})

    async def mend(self, target: str) -> None:
        """End every fault of a target."""
        await self._ask("DELETE", f"/faults/{quote(target, safe='')}")

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            async with httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT_S, trust_env=False) as client:
                answer = await client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DemoAway from error
        if answer.is_client_error:
            raise DemoRefused("the demo refused: {problem}", problem=answer.json().get("detail", ""))
        return answer.json()
