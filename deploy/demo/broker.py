"""The demo's MQTT broker: mosquitto where it is installed, otherwise amqtt from the wheel."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Serve MQTT on 127.0.0.1 at the port given as the only argument, until SIGTERM."""
    port = int(sys.argv[1])
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto:
        folder = Path(tempfile.mkdtemp(prefix="wattlease-broker-"))
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n")
        os.execv(mosquitto, [mosquitto, "-c", str(settings)])  # noqa: S606
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
