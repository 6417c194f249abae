"""kill -9 of the API in a burst: what it held of the latest values is found again by the worker."""

import asyncio
import itertools
import uuid
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from tests.fault_injection.test_cloud_ingest import POINTS, Cloud, set_up, until_answered

BEHIND = (
    "SELECT count(*) FROM (SELECT point_id, max(observed_at) AS observed_at FROM app.observation GROUP BY 1) o"
    "  LEFT JOIN app.latest_value l USING (point_id) WHERE l.observed_at IS DISTINCT FROM o.observed_at"
)


@pytest.fixture
def cloud(tmp_path):
    tmp_path.chmod(0o755)
    cloud = Cloud(tmp_path)
    cloud.start()
    yield cloud
    cloud.stop()


def behind(cloud):
    """Return how many points have a newer observation than their latest value says."""
    with psycopg.connect(cloud.app_url) as conn:
        conn.execute("SELECT set_config('app.viewer_kind', 'system', false)")
        return conn.execute(BEHIND).fetchone()[0]


async def kill_in_a_burst(cloud, credential):
    """Send batch after batch until the API is killed with latest values in its memory."""
    now_ms, stream = int(datetime.now(UTC).timestamp() * 1000), str(uuid.uuid4())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cloud.port}") as client:
        for seq in itertools.count(1):
            message = {
                "v": 1, "stream": stream, "points": [f"meter-{n}/energy" for n in range(POINTS)],
                "scales": [3] * POINTS, "seq": [seq], "point": [seq % POINTS], "at_ms": [now_ms - 3_600_000 + seq],
                "value": [seq], "quality": [0],
            }  # fmt: skip
            await until_answered(client, "POST", "/ingest/v1/batches", credential, message)
            if seq % 10 == 0 and behind(cloud):
                cloud.processes["serve"].kill()
                cloud.processes["serve"].wait()
                if behind(cloud):
                    return
                cloud.run("serve")  # It had just moved them.


async def test_latest_values_lost_with_a_killed_api_are_mended_by_the_worker(cloud):
    credential = await set_up(cloud)
    await kill_in_a_burst(cloud, credential)
    for _ in range(600):
        if not behind(cloud):
            return
        await asyncio.sleep(0.1)
    pytest.fail("the latest values stay behind the observations")
