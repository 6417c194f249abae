"""Reading the meters of spaces at the instant in which they change hands."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import Text
from cloud_api.operations.tenancy.repository import Row, execute, queries, rows

READING_TOLERANCE = Decimal(1)
"""How far a value read off by hand may lie from telemetry of the same instant, in the register's unit."""


class HandoverRefused(DomainError):
    """The space cannot be handed over yet; the text lists what is open."""

    code = "handover_refused"

    def __init__(self, reasons: Sequence[Text]) -> None:
        super().__init__("the handover is not possible yet:{reasons}", reasons=list(reasons))


async def meters_at(conn: AsyncConnection, space_ids: Sequence[int], at: datetime) -> list[Row]:
    """Return the energy registers that measure spaces at an instant, with what telemetry says of it."""
    return await rows(conn, queries.registers, {"space_ids": list(space_ids), "at": at})


async def read_meters(
    conn: AsyncConnection,
    space_ids: Sequence[int],
    at: datetime,
    readings: Mapping[str, Decimal],
    clock: Clock,
    *,
    reasons: Sequence[Text] = (),
) -> dict[str, Decimal]:
    """Return the value of every meter of the spaces at an instant, storing those read off by hand.

    A meter with telemetry of that instant reads itself; the others need a value in `readings` (meter → value). Raises
    HandoverRefused with `reasons`, the meters without a reading, and the values that contradict telemetry.
    """
    registers = await meters_at(conn, space_ids, at)
    known = {r["meter"] for r in registers}
    found_reasons = [*reasons]
    found_reasons += [
        Text("meter {meter} does not measure a space of this lease", meter=code)
        for code in sorted(set(readings) - known)
    ]
    found: dict[str, Decimal] = {}
    entered: dict[int, Decimal] = {}
    for register in registers:
        meter, told, given = register["meter"], register["value"], readings.get(register["meter"])
        if told is None and given is None:
            found_reasons.append(
                Text("meter {meter} has no reading at the handover: read it off and enter it", meter=meter)
            )
        elif told is not None and given is not None and abs(told - given) > READING_TOLERANCE:
            found_reasons.append(
                Text(
                    "meter {meter} shows {told} by telemetry, {given} was read off: look again",
                    meter=meter,
                    told=told,
                    given=given,
                )
            )
        elif told is None and given is not None:
            entered[register["register_id"]] = given
        value = told if told is not None else given
        if value is not None:
            found[meter] = value
    if found_reasons:
        raise HandoverRefused(found_reasons)
    values = {"register_id": list(entered), "value": list(entered.values()), "at": at, "now": clock.now()}
    await execute(conn, queries.add_readings, values)
    return found
