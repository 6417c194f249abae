"""`edge-agent decode`: what do these words mean? Without a device."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

LINE_BYTES_MAX = 64 * 1024


def decode(
    registers: Annotated[
        str | None, typer.Option(help="The words as they arrived: 17338,32768 or 0x43BA,0x8000.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="float32, uint16, int64, bcd, string, bool …")] = None,
    word_order: Annotated[str, typer.Option(help="big: most significant word first; little: last.")] = "big",
    byte_order: Annotated[str, typer.Option(help="Order of the bytes inside each register.")] = "big",
    scale: Annotated[str, typer.Option(help="value = raw × scale + offset; a decimal or a ratio such as 1/128.")] = "1",
    offset: Annotated[str, typer.Option(help="Added after scaling.")] = "0",
    sentinel: Annotated[
        list[str] | None, typer.Option(help="Words as they arrive that mean “no value”: FFC00000. May be repeated.")
    ] = None,
    bit: Annotated[str | None, typer.Option(help="One bit, 0 is the lowest.")] = None,
    mask: Annotated[str | None, typer.Option(help="Bits to keep, such as 0x0F00.")] = None,
    shift: Annotated[str | None, typer.Option(help="Bits to shift right after the mask.")] = None,
    enum: Annotated[str | None, typer.Option(help="Words for numbers: 0=off,1=heat.")] = None,
    profile: Annotated[str | None, typer.Option(help="Take the meaning from a device profile.")] = None,
    point: Annotated[str | None, typer.Option(help="Point of the profile.")] = None,
    address: Annotated[str | None, typer.Option(help="Instead of a point: first address of a whole answer.")] = None,
    function: Annotated[str | None, typer.Option(help="Table of the block: holding, input, coil, discrete.")] = None,
    factors: Annotated[str | None, typer.Option(help="Values of points that multiply: ct_ratio=40,pt_ratio=1.")] = None,
    profiles: Annotated[Path | None, typer.Option(help="A profile file or folder outside the package.")] = None,
    jsonl: Annotated[
        bool, typer.Option(help="Read one request per line (same names as keys), answer line by line.")
    ] = False,
) -> None:
    """Decode raw modbus registers; prints JSON with value, quality and the reason when there is no value."""
    from edge_agent.commands.decode_request import RequestError, answer, answer_line

    if jsonl:
        try:
            for line in lines(sys.stdin.buffer):
                sys.stdout.buffer.write(answer_line(line, profiles) + b"\n")
                sys.stdout.buffer.flush()  # Whoever asks line by line waits for the answer.
        except BrokenPipeError:  # The reader has seen enough, as `head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    request = {
        "registers": registers,
        "type": type_,
        "bit": bit,
        "mask": mask,
        "shift": shift,
        "enum": enum,
        "profile": profile,
        "point": point,
        "address": address,
        "function": function,
        "factors": factors,
        "sentinel": sentinel or None,
        # The defaults are not a choice, and a profile makes its own.
        "word_order": None if word_order == "big" else word_order,
        "byte_order": None if byte_order == "big" else byte_order,
        "scale": None if scale == "1" else scale,
        "offset": None if offset == "0" else offset,
    }
    try:
        typer.echo(answer(request, profiles).decode())
    except RequestError as error:
        import json

        typer.echo(json.dumps({"error": str(error)}, ensure_ascii=False))
        raise typer.Exit(1) from error


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream; of a line over the limit only the beginning, which is then no valid JSON."""
    while line := stream.readline(LINE_BYTES_MAX):
        ended = line.endswith(b"\n")
        while not ended and (rest := stream.readline(LINE_BYTES_MAX)):
            ended = rest.endswith(b"\n")
        yield line
