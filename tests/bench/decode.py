"""CPU of decoding one point, beside pymodbus' `convert_from_registers` on the same words in the same run.

Ours gives a checked value: sentinels, not-a-number, plausibility, unit, exact mantissa. pymodbus gives a bare number.
Run: python -m tests.bench.decode
"""

import random
import time
from collections.abc import Callable

from pymodbus.client.mixin import ModbusClientMixin

from device_profiles.catalog import load_modbus
from device_profiles.model import DataType, Order
from edge_agent.drivers.modbus.codec import compile_decoder

ROUNDS = 7
KINDS = ModbusClientMixin.DATATYPE
PEER_TYPES = {
    DataType.FLOAT32: KINDS.FLOAT32, DataType.FLOAT64: KINDS.FLOAT64, DataType.UINT16: KINDS.UINT16,
    DataType.INT16: KINDS.INT16, DataType.UINT32: KINDS.UINT32, DataType.INT32: KINDS.INT32,
    DataType.UINT64: KINDS.UINT64, DataType.INT64: KINDS.INT64,
}  # fmt: skip


def cpu_per_call(call: Callable[[], object], calls: int = 2000) -> float:
    """Seconds of CPU per call: the best of a few rounds, since others may be working on this machine."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(calls):
            call()
        best = min(best, (time.process_time() - start) / calls)
    return best


def measure(name: str, first: int, count: int) -> None:
    profile = load_modbus(name)
    points = [p for p in profile.points if first <= p.address and p.end <= first + count and p.type in PEER_TYPES]
    chance = random.Random(1)
    words = [chance.randrange(100) for _ in range(count)]
    decoder = compile_decoder(points, first, count)
    parts = [
        (
            point.address - first,
            point.end - first,
            PEER_TYPES[point.type],
            "big" if point.word_order is Order.BIG else "little",
        )
        for point in points
    ]

    def peer() -> list[object]:
        convert = ModbusClientMixin.convert_from_registers
        return [convert(words[start:end], kind, order) for start, end, kind, order in parts]

    ours, theirs = (cpu_per_call(call) / len(points) * 1e6 for call in (lambda: decoder(words), peer))
    print(
        f"{name:24} {len(points):3} points  ours {ours:6.3f} µs/point  pymodbus {theirs:6.3f} µs/point  ratio {theirs / ours:5.1f}"
    )


if __name__ == "__main__":
    measure("eastron_sdm630", 0x00, 0x50)
    measure("schneider_iem3155", 2999, 125)
    measure("abb_b23", 0x5B00, 62)
    measure("carlo_gavazzi_em330", 0x00, 0x36)
    measure("hager_ecr380d", 0xB000, 0x20)
