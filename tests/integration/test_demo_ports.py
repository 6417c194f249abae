"""Which ports a demo takes: never those of another demo, and the same ones again after a restart."""

import socket
from contextlib import contextmanager

import pytest

from deploy.demo.ports import LAST_PORT, PortClaims, is_free
from deploy.demo.state import MODBUS_PORT_COUNT, SERVICES, DemoError, Home


@pytest.fixture
def homes(tmp_path):
    """Demos that have chosen their ports, though none of their processes listens yet."""
    opened = []

    def started(name, web_port):
        home = Home(tmp_path / name)
        opened.append(home)
        return home, home.open(web_port)

    yield started
    for home in opened:
        home.close()


@pytest.fixture
def page_ports():
    """Two ports for pages, far from those that a demo chooses by itself; let go, as a person would name them."""
    claims = PortClaims()
    found = [port for port in range(LAST_PORT - 200, LAST_PORT) if claims.claim(port)]
    claims.release()
    return found[:2]


@contextmanager
def listener(port):
    with socket.create_server(("127.0.0.1", port)):
        yield


def _taken(state):
    return {state.web_port, *(state.ports[name] for name in SERVICES), *_buses(state)}


def _buses(state):
    return range(state.ports["modbus"], state.ports["modbus"] + MODBUS_PORT_COUNT)


def test_two_demos_that_start_at_once_share_no_port(homes, page_ports):
    first, second = (_taken(homes(name, port)[1]) for name, port in zip("ab", page_ports, strict=True))
    assert len(first) == len(second) == 1 + len(SERVICES) + MODBUS_PORT_COUNT
    assert not first & second


def test_a_demo_that_starts_again_keeps_its_ports(homes, page_ports):
    home, before = homes("a", page_ports[0])
    home.close()
    assert homes("a", page_ports[0])[1].ports == before.ports


def test_a_port_that_another_program_has_taken_is_replaced_and_the_choice_remembered(homes, page_ports):
    home, before = homes("a", page_ports[0])
    home.close()
    taken = before.ports["modbus"] + 3
    with listener(taken):
        home, after = homes("a", page_ports[0])
        assert taken not in _buses(after)
        assert home.peek().ports == after.ports
    home.close()
    assert homes("a", page_ports[0])[1].ports == after.ports


def test_a_page_port_of_another_demo_is_refused_with_the_remedy(homes, page_ports):
    homes("a", page_ports[0])
    with pytest.raises(DemoError, match=f"PORT={page_ports[0] + 1}"):
        homes("b", page_ports[0])


def test_a_refused_row_leaves_none_of_its_ports_claimed():
    mine, other = PortClaims(), PortClaims()
    first = mine.claim_somewhere(4)
    assert first is not None
    mine.release()
    assert other.claim(first + 3)
    assert not mine.claim(first, 4)
    assert other.claim(first, 3)
    other.release()


def test_a_port_somebody_listens_on_is_not_free(page_ports):
    with listener(page_ports[0]):
        assert not is_free(page_ports[0])
        assert not PortClaims().claim(page_ports[0])
