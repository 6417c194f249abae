"""The life of a bill run, as a table; anything absent is refused. Pure."""

from enum import StrEnum

from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import Text


class RunState(StrEnum):
    """Where a run stands."""

    DRAFT = "draft"
    CALCULATED = "calculated"
    REVIEWED = "reviewed"
    APPROVED = "approved"
    ISSUED = "issued"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """What a person does with a run."""

    CALCULATE = "calculate"
    REVIEW = "review"
    APPROVE = "approve"
    ISSUE = "issue"
    SEND_BACK = "send_back"
    CANCEL = "cancel"


TRANSITIONS = {
    (RunState.DRAFT, Step.CALCULATE): RunState.CALCULATED,
    (RunState.CALCULATED, Step.REVIEW): RunState.REVIEWED,
    (RunState.REVIEWED, Step.APPROVE): RunState.APPROVED,
    (RunState.APPROVED, Step.ISSUE): RunState.ISSUED,
    (RunState.REVIEWED, Step.SEND_BACK): RunState.CALCULATED,
    (RunState.APPROVED, Step.SEND_BACK): RunState.CALCULATED,
    (RunState.DRAFT, Step.CANCEL): RunState.CANCELLED,
    (RunState.CALCULATED, Step.CANCEL): RunState.CANCELLED,
    (RunState.REVIEWED, Step.CANCEL): RunState.CANCELLED,
    (RunState.APPROVED, Step.CANCEL): RunState.CANCELLED,
}


class StepRefused(DomainError):
    """The run does not stand where this step begins."""

    code = "step_refused"


class SamePerson(DomainError):
    """Whoever prepared a run cannot approve it."""

    code = "same_person"


class NotIssuable(DomainError):
    """The run or some of its bills cannot be issued; the text says which lines to look at."""

    code = "not_issuable"


def after(state: RunState, step: Step) -> RunState:
    """Return the state after a step. Raises StepRefused with what would be possible."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        possible = tuple(_words(s) for (f, s) in TRANSITIONS if f is state) or (Text("nothing"),)
        raise StepRefused(
            "a run that is {state} cannot {step}; possible: {possible}",
            state=_words(state),
            step=_words(step),
            possible=possible,
        ) from None


def _words(name: RunState | Step) -> Text:
    return Text(name.value.replace("_", " "))
