"""The process `cloud-api sparkplug`: one worker, until SIGTERM or SIGINT."""

import asyncio
import signal

from cloud_api.db.pool import make_pool
from cloud_api.ingest.service import Ingest
from cloud_api.ingest.sparkplug.consumer import Broker, Consumer
from cloud_api.ingest.sparkplug.host import Host
from cloud_api.kit.clock import Clock
from cloud_api.settings import Settings


async def run_sparkplug(settings: Settings, clock: Clock, worker: str) -> None:
    """Work until told to stop; what is not acknowledged then comes again."""
    if settings.mqtt_url is None:
        raise SystemExit("CLOUD_MQTT_URL is missing: the broker to listen to, such as mqtt://127.0.0.1:1883")
    host_id = settings.sparkplug_host_id
    broker = Broker(url=settings.mqtt_url.get_secret_value(), host_id=host_id, share=host_id, worker=worker)
    async with make_pool(settings.database_url.get_secret_value(), size_max=settings.pool_size_max) as pool:
        consumer = Consumer(broker, Host(ingest=Ingest(pool=pool, clock=clock)))
        task = asyncio.create_task(consumer.run())
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error
