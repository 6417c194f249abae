"""Opens the sockets of the demo site: every bus of the site file, answered by simulated devices."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from device_profiles.catalog import load_modbus
from edge_agent.settings import Bus, RtuBus, RtuOverTcpBus, Site, TcpBus
from edge_agent.simulator.images import DeviceImage
from edge_agent.simulator.modbus import SerialLine, Unit, serve_rtu_over_tcp, serve_tcp
from edge_agent.simulator.world import World


class ServeError(RuntimeError):
    """A socket cannot be opened; the text says which and what to do."""


@dataclass(slots=True, kw_only=True)
class Served:
    """The open sockets of a site."""

    images: dict[str, DeviceImage] = field(default_factory=dict)
    servers: list[asyncio.Server] = field(default_factory=list)
    lines: list[SerialLine] = field(default_factory=list)

    async def close(self) -> None:
        """Close everything."""
        for server in self.servers:
            server.close()
        for line in self.lines:
            line.close()
        for server in self.servers:
            await server.wait_closed()


def make_images(world: World, site: Site) -> dict[str, DeviceImage]:
    """Return the simulated Modbus devices of a site by name; raises ProfileError."""
    images: dict[str, DeviceImage] = {}
    for _bus, device in site.modbus_devices():
        profile = load_modbus(
            device.profile, instances={block: tuple(numbers) for block, numbers in device.instances.items()}
        )
        images[device.name] = DeviceImage(world, device.name, profile)
    return images


async def serve_site(world: World, site: Site) -> Served:
    """Open every Modbus bus of the site. Raises ServeError, with nothing left open."""
    served = Served(images=make_images(world, site))
    try:
        for bus in site.buses:
            units = {device.unit: served.images[device.name] for device in bus.devices}
            await _open(bus, units, served)
    except ServeError:
        await served.close()
        raise
    return served


async def _open(bus: Bus, units: Mapping[int, Unit], served: Served) -> None:
    try:
        match bus:
            case TcpBus():
                served.servers.append(await serve_tcp(bus.host, bus.port, units))
            case RtuOverTcpBus():
                served.servers.append(await serve_rtu_over_tcp(bus.host, bus.port, units))
            case RtuBus():
                served.lines.append(SerialLine(Path(bus.serial), units))
            case _:
                raise ServeError(f"bus {bus.name}: {bus.transport} cannot be simulated; use tcp, rtu_over_tcp or rtu")
    except OSError as error:
        raise ServeError(
            f"bus {bus.name}: {bus.endpoint} cannot be opened: {error.strerror or error}. Another program may hold it: "
            "choose other ports with `edge-agent simulate site --base-port`"
        ) from error
