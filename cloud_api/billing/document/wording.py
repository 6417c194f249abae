"""Numbers, dates and amounts as people read them on a bill. Pure."""

from datetime import date, timedelta
from decimal import Decimal

_DIGITS = "零壹贰叁肆伍陆柒捌玖"
_PLACES = ("", "拾", "佰", "仟")
_GROUPS = ("", "万", "亿", "万亿")


def money(amount: str | Decimal, currency: str = "CNY") -> str:
    """Return an amount with thousands and two decimals: ¥ 3,482.10, or the currency's code before others."""
    value = Decimal(amount)
    sign = "-" if value < 0 else ""
    mark = "¥" if currency == "CNY" else currency
    return f"{sign}{mark} {abs(value):,.2f}"


def quantity(value: str | Decimal, digits: int = 2) -> str:
    """Return a quantity with thousands and at most `digits` decimals; half-up, for reading only."""
    from cloud_api.kit.money import round_half_up

    return f"{round_half_up(Decimal(value), Decimal(1).scaleb(-digits)):,}"


def days(first: str, after: str) -> str:
    """Return a half-open period as its first and last day."""
    last = date.fromisoformat(after) - timedelta(days=1)
    return f"{first} – {last.isoformat()}"


def in_capitals(amount: str | Decimal) -> str:
    """Return 大写金额, the amount in Chinese capitals as receipts demand: 壹仟零贰元叁角整."""
    value = Decimal(amount)
    cents = int(abs(value) * 100)
    yuan, jiao, fen = cents // 100, cents // 10 % 10, cents % 10
    text = ("负" if value < 0 else "") + (_whole(yuan) + "元" if yuan else "" if cents else "零元")
    if not jiao and not fen:
        return text + "整"
    if jiao:
        text += _DIGITS[jiao] + "角"
    elif yuan:
        text += "零"
    return text + (_DIGITS[fen] + "分" if fen else "整")


def _whole(number: int) -> str:
    groups = []
    while number:
        groups.append(number % 10_000)
        number //= 10_000
    text = ""
    needs_zero = False
    for index in range(len(groups) - 1, -1, -1):
        group = groups[index]
        if not group:
            needs_zero = bool(text)
            continue
        if text and (needs_zero or group < 1000):
            text += "零"
        text += _four(group) + _GROUPS[index]
        needs_zero = False
    return text


def _four(group: int) -> str:
    text = ""
    for place in range(3, -1, -1):
        digit = group // 10**place % 10
        if digit:
            text += _DIGITS[digit] + _PLACES[place]
        elif text and group % 10**place and not text.endswith("零"):
            text += "零"
    return text
