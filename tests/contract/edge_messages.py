"""The values behind the golden messages, as the agent holds them."""

from edge_agent.outbox.model import Batch, ChunkClass, ChunkSpan, Lane, Layout, StoredEvent, StoredFrame
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint

STREAM = "7a0f6f0e-3c41-4f6e-9b57-0d5f5f4b2a11"

CATALOGUE = Catalogue(
    devices=(
        CatalogueDevice(
            name="meter-t301",
            label="三层租户电表",
            profile="eastron_sdm630",
            profile_revision="3f9a",
            bus="tcp-1",
            address="127.0.0.1:5020/3",
            poll_s=5,
            timeout_s=15,
            attributes={"serial": "A-1"},
            points=(
                CataloguePoint(
                    name="active_energy_import",
                    kind="sensor",
                    quantity="active_energy_import",
                    unit="kWh",
                    scale=3,
                    brick="Electric_Energy_Sensor",
                    cumulative=True,
                ),
                CataloguePoint(name="voltage_l1", kind="sensor", quantity="voltage_l1", unit="V"),
            ),
        ),
        CatalogueDevice(
            name="door-1",
            label="Lobby",
            profile="door_reader_json",
            profile_revision="77",
            bus="broker",
            address="doors/door-1",
            poll_s=None,
            timeout_s=None,
            points=(
                CataloguePoint(
                    name="door_state",
                    kind="status",
                    quantity="door_state",
                    unit="",
                    labels={"0": "closed", "1": "open"},
                ),
            ),
        ),
    )
)

BATCH = Batch(
    stream=STREAM,
    lane=Lane.LIVE,
    chunks=(
        ChunkSpan(1, 101, 106, ChunkClass.TELEMETRY, []),
        ChunkSpan(2, 107, 107, ChunkClass.BILLING, []),
        ChunkSpan(3, 108, 109, ChunkClass.EVENT, []),
    ),
    frames=(
        StoredFrame(
            101,
            Layout(device="meter-t301", points=("voltage_l1", "voltage_l2"), scales=(None, None)),
            1_764_000_000_000,
            (230.25, -0.5),
            None,
        ),
        StoredFrame(
            103,
            Layout(
                device="ahu-3", points=("supply_air_temperature", "fan_on", "filter_dp", "mode"), scales=(None,) * 4
            ),
            1_764_000_000_120,
            (None, 1, 1e-7, None),
            (2, 0, 1, 3),
        ),
        StoredFrame(
            107,
            Layout(device="meter-t301", points=("active_energy_import",), scales=(3,)),
            1_764_000_000_250,
            (9_007_199_254_740_993,),
            None,
        ),
    ),
    events=(
        StoredEvent(
            108,
            "door.access",
            "door-1",
            1_763_999_999_000,
            1_764_000_000_300,
            {
                "door": "1",
                "direction": "in",
                "result": "granted",
                "credential": "hmac-sha256:5f2c",
                "device_at_ms": 1_763_999_999_000,
                "sequence": 1207,
            },
        ),
        StoredEvent(
            109,
            "device.state",
            "ahu-3",
            1_764_000_000_310,
            1_764_000_000_310,
            {"state": "offline", "error": "no answer for 15 s"},
        ),
    ),
    count=9,
)
