"""The durable queue between reading the building and the cloud's receipt."""

from edge_agent.outbox.model import Batch, Lane, Layout, Limits, Rejection, Retry, Stats, StoredEvent, StoredFrame
from edge_agent.outbox.outbox import Outbox

__all__ = [
    "Batch",
    "Lane",
    "Layout",
    "Limits",
    "Outbox",
    "Rejection",
    "Retry",
    "Stats",
    "StoredEvent",
    "StoredFrame",
]
