"""Modbus over TLS on real sockets: who is believed, who is let in, and what a technician reads when it fails."""

from contextlib import asynccontextmanager

import pytest

from device_profiles.model import Function
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.errors import LinkDown
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.settings import TlsBus
from tests.integration.edge_bus.servers import serving
from tests.support.authority import Authority

SPAN = Span(Function.HOLDING, 40, 43)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


async def honest(request, server):
    return request.mbap(request.honest())


@asynccontextmanager
async def line_to(context, **options):
    async with serving(honest, ssl=context) as server:
        device = {"name": "d", "profile": "p", "unit": 3}
        line = Line(TlsBus(transport="tls", name="b", host="127.0.0.1", port=server.port, devices=[device], **options))
        try:
            yield line, server
        finally:
            await line.close()


async def test_a_gateway_of_our_own_authority_is_read(authority):
    async with line_to(authority.server(), ca_file=authority.certificate) as (line, server):
        assert tuple(await line.read(3, SPAN, timeout_s=1)) == (40, 41, 42)
        assert tuple(await line.read(3, SPAN, timeout_s=1)) == (40, 41, 42)
        assert server.connections == 1


async def test_a_gateway_that_nobody_has_signed_for_is_sent_no_question(authority, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    async with line_to(stranger.server(), ca_file=authority.certificate) as (line, server):
        with pytest.raises(LinkDown, match="CERTIFICATE_VERIFY_FAILED"):
            await line.read(3, SPAN, timeout_s=1)
        assert server.requests == []


async def test_a_certificate_for_another_name_is_refused_unless_the_site_file_gives_that_name(authority):
    context = authority.server("gateway", "DNS:plant-gateway.example")
    async with line_to(context, ca_file=authority.certificate) as (line, _):
        with pytest.raises(LinkDown, match=r"not valid for '127\.0\.0\.1'"):
            await line.read(3, SPAN, timeout_s=1)
    async with line_to(context, ca_file=authority.certificate, server_name="plant-gateway.example") as (line, _):
        assert tuple(await line.read(3, SPAN, timeout_s=1)) == (40, 41, 42)


async def test_a_gateway_that_asks_for_a_certificate_lets_only_its_owner_in(authority):
    context = authority.server("strict", asks=True)
    async with line_to(context, ca_file=authority.certificate) as (line, server):
        with pytest.raises(LinkDown):
            await line.read(3, SPAN, timeout_s=1)
        assert server.requests == []
    certificate, key = authority.sign("agent")
    files = {"ca_file": authority.certificate, "certificate_file": certificate, "key_file": key}
    async with line_to(context, **files) as (line, _):
        assert tuple(await line.read(3, SPAN, timeout_s=1)) == (40, 41, 42)


async def test_a_missing_or_foreign_file_is_named_with_what_it_must_hold(authority, tmp_path):
    (tmp_path / "text.pem").write_text("no certificate\n", encoding="utf-8")
    for name in ("nowhere.pem", "text.pem"):
        async with line_to(authority.server(), ca_file=tmp_path / name) as (line, _):
            with pytest.raises(LinkDown, match=rf"{name}: .*: ca_file must hold an authority's certificate"):
                await line.read(3, SPAN, timeout_s=1)


async def test_a_server_that_speaks_no_tls_is_a_lost_link_not_a_crash(authority):
    async with line_to(None, ca_file=authority.certificate) as (line, _):
        with pytest.raises(LinkDown):
            await line.read(3, SPAN, timeout_s=1)
