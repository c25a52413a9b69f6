"""A sender while another program, or none, is at its server's address."""

import time

import pytest
import zmq
from addresses import bind_when_free

from ptylive.schema import ServerGoneError
from ptylive.simulators.outlet import Outlet, SendPatience


@pytest.mark.parametrize("other", [zmq.PUB, zmq.REP])
def test_another_program_at_the_address_is_not_taken_for_the_server_and_does_not_keep_it_away(other: int) -> None:
    """A port that is free while a server restarts may be taken by another program for a while."""
    with zmq.Context() as context:
        stranger = context.socket(other)
        address = f"tcp://127.0.0.1:{stranger.bind_to_random_port('tcp://127.0.0.1')}"
        with Outlet(address, SendPatience(first_s=60.0)) as outlet:
            with stranger, pytest.raises(ServerGoneError, match="no server takes data"):
                impatient = Outlet(address, SendPatience(first_s=0.5))
                try:
                    impatient.send([b"to a stranger"])
                finally:
                    impatient.close(flush=False)
            server = context.socket(zmq.PULL)
            server.setsockopt(zmq.RCVTIMEO, 60_000)
            bind_when_free(server, address)
            outlet.send([b"to the server"])
            assert server.recv_multipart() == [b"to the server"]
            server.close()


def test_a_server_that_was_never_slow_is_waited_for_like_any_that_went_away() -> None:
    """Nothing had to wait meanwhile, so nobody had checked the connection."""
    with zmq.Context() as context:
        server = context.socket(zmq.PULL)
        address = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
        outlet = Outlet(address, SendPatience(first_s=20.0, away_s=0.5))
        try:
            while not server.poll(100):
                outlet.send([b"here"])
            server.close(linger=0)
            time.sleep(0.5)  # until the end of the connection is known here, before anybody checks
            with pytest.raises(ServerGoneError, match=r"waited 0\.5 s"):
                for _ in range(10_000):
                    outlet.send([b"gone"])
        finally:
            outlet.close(flush=False)
