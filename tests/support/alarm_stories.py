"""What people are told of the alarms of a story: one place that knows how a message names its alarm."""


async def told(conn, silent_before):
    """Return (rule, subject, transition) of every message sent, in order, but for devices that were silent before."""
    rows = await conn.execute(
        "SELECT a.rule, a.subject, n.transition FROM notification n"
        " JOIN alarm a ON n.topic LIKE 'alarm:' || a.id || ':%%'"
        " WHERE n.state = 'sent' AND NOT (a.subject = ANY(%s)) ORDER BY n.id",
        ([f"device:{device}" for device in silent_before],),
    )
    return await rows.fetchall()
