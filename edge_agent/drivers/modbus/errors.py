"""What can go wrong between a question and its answer, told apart because each needs another reaction."""

# Modbus Application Protocol 1.1b3, section 7.
EXCEPTIONS = {
    1: "function not supported",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still working",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway got no answer from the device",
}


class ModbusError(Exception):
    """A question that brought no usable answer. The bus will come back: never stop polling because of it."""


class LinkDown(ModbusError):
    """There is no connection to the gateway or the serial line."""


class NoAnswer(ModbusError):
    """The device kept silent, or nothing that arrived fits the question."""


class BadAnswer(ModbusError):
    """An answer came for this question, but not with what was asked: too short, too long, another function."""


class Busy(ModbusError):
    """Exceptions 05 and 06: ask again later."""


class Refused(ModbusError):
    """Any other exception; `code` tells which."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code:02X}: {EXCEPTIONS.get(code, 'unknown')}")

    @property
    def blames_function(self) -> bool:
        """Whether the whole table is at fault, so that another may hold the same values."""
        return self.code == 1

    @property
    def blames_address(self) -> bool:
        """Whether the range that was asked for is at fault, so that a part of it may be answered."""
        return self.code in {2, 3}


def exception_of(code: int) -> ModbusError:
    """Translate an exception code.

    A gateway's 0A and 0B say that this one unit is silent; the connection to the gateway is sound.
    """
    if code in {5, 6}:
        return Busy(f"exception {code:02X}: {EXCEPTIONS[code]}")
    if code in {10, 11}:
        return NoAnswer(f"exception {code:02X}: {EXCEPTIONS[code]}")
    return Refused(code)
