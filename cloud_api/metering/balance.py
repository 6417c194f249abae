"""The balance of a branch: main = Σ children + residual, and what that residual says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

WARN_SHARE = Decimal("0.03")
BLOCK_SHARE = Decimal("0.08")
BLOCK_NEGATIVE_SHARE = Decimal("-0.01")


class BalanceState(StrEnum):
    """What a residual says: losses and meter error stay below 3 %, and children cannot exceed the main meter."""

    OK = "ok"
    WARN = "warn"
    BLOCK = "block"
    UNKNOWN = "unknown"  # An interval is missing somewhere: no verdict.


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one meter counted in a bucket; None when not every interval of it is known."""

    meter_id: int
    use: str
    quantity: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One bucket of a branch, in the unit of its meters. `residual` is losses, meter error and what nobody measures."""

    starts_at: datetime
    main: Decimal | None
    tenants: Decimal
    common: Decimal
    other: Decimal
    residual: Decimal | None
    share: Decimal | None
    state: BalanceState


def balance(starts_at: datetime, main: Decimal | None, children: Sequence[Part]) -> Balance:
    """Balance one bucket; exact, so the four parts add up to the main meter."""
    sums = {"tenant": Decimal(0), "common": Decimal(0), "other": Decimal(0)}
    for part in children:
        sums[_kind(part.use)] += part.quantity or 0
    is_known = main is not None and all(part.quantity is not None for part in children)
    residual = main - sum(sums.values()) if is_known and main is not None else None
    share = residual / main if residual is not None and main else None
    return Balance(
        starts_at=starts_at,
        main=main,
        tenants=sums["tenant"],
        common=sums["common"],
        other=sums["other"],
        residual=residual,
        share=share,
        state=_state(residual, share),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A meter whose mistake would explain most of a residual: what is wrong with it, and the residual without that."""

    meter_id: int
    kind: str  # "reversed": it counts backwards; "wrong_parent": it does not belong to this branch.
    residual: Decimal


def suspects(main: Decimal, children: Sequence[Part], *, share_max: Decimal = WARN_SHARE) -> list[Suspect]:
    """Return the single mistakes that would close the balance of a period, the best explanation first.

    A reversed transformer counts its energy negatively; turned round, the children grow by twice its size. A meter hung
    below the wrong parent adds what does not flow here. Only what brings the residual within `share_max` is named, and
    nothing when the balance holds as it is.
    """
    if main <= 0 or any(part.quantity is None for part in children):
        return []
    residual = main - sum((part.quantity or Decimal(0) for part in children), Decimal(0))
    if -share_max / 3 <= residual / main <= share_max:
        return []
    found: list[Suspect] = []
    for part in children:
        quantity = part.quantity or Decimal(0)
        mended = ("reversed", residual + 2 * quantity) if quantity < 0 else ("wrong_parent", residual + quantity)
        if -share_max / 3 <= mended[1] / main <= share_max:
            found.append(Suspect(meter_id=part.meter_id, kind=mended[0], residual=mended[1]))
    return sorted(found, key=lambda s: abs(s.residual))


def _kind(use: str) -> str:
    if use == "tenant":
        return "tenant"
    return "common" if use in {"common", "plant"} else "other"


def _state(residual: Decimal | None, share: Decimal | None) -> BalanceState:
    if residual is None:
        return BalanceState.UNKNOWN
    if share is None:
        return BalanceState.OK if residual == 0 else BalanceState.BLOCK
    if share > BLOCK_SHARE or share < BLOCK_NEGATIVE_SHARE:
        return BalanceState.BLOCK
    return BalanceState.WARN if share > WARN_SHARE or share < 0 else BalanceState.OK
