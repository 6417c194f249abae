"""Alarms as the package speaks of them: a condition with its state, an occurrence, a line of the journal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType

from cloud_api.alarms.states import Policy, State
from cloud_api.faults.model import Verdict

AlarmId = NewType("AlarmId", int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One condition: a rule on a subject ('device:17'), with its state. `params` fill its sentence."""

    id: AlarmId
    organisation_id: int
    site_id: int
    subject: str
    rule: str
    severity: int
    params: Mapping[str, Any]
    state: State
    suppression_reason: str = ""
    policy: Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A rule's verdict about a subject, holding from `at` (event time) on.

    `policy` is how it alarms where the rule alone does not say; `known_until` how far its data are complete.
    """

    organisation_id: int
    site_id: int
    subject: str
    rule: str
    severity: int
    verdict: Verdict
    at: datetime
    params: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy | None = None
    known_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """What happened to an alarm: `at` in event time, `recorded_at` when the system learned it."""

    id: int
    alarm_id: AlarmId
    occurrence: int
    kind: str
    at: datetime
    recorded_at: datetime
    actor: str
    reason: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlarm:
    """A line of the alarm list, ready to be shown: sentences in both languages, times in UTC.

    `since` is when the condition began, as the sentence says; `opened_at` when it had held for its delay.
    """

    id: AlarmId
    site_id: int
    subject: str
    rule: str
    severity: int
    isa_state: str
    active: bool
    acknowledged: bool
    suppression: str
    suppressed_until: datetime | None
    suppression_reason: str
    since: datetime
    opened_at: datetime
    cleared_at: datetime | None
    sentence_zh: str
    sentence_en: str
    occurrence: int
    params: Mapping[str, Any]

    def sentence(self, language: str) -> str:
        """Return the sentence in `zh` or `en`."""
        return self.sentence_zh if language.startswith("zh") else self.sentence_en
