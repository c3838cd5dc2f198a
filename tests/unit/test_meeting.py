import pytest

pytest.importorskip("httpx")

from sirl.errors import ModelError
from sirl.guard.upstream.meeting import manner_of

from .fake_endpoint import in_turn, served
from .test_endpoint import engine


@pytest.mark.parametrize(("status", "tries"), [(402, 1), (429, 5), (503, 5)])
def test_an_endpoint_that_serves_nobody_is_not_asked_in_other_manners(monkeypatch, status, tries):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served() as server:
        server.play = in_turn((status, {}, {"error": {"message": "No credit is left."}}))
        with pytest.raises(ModelError, match=f"answered {status}"):
            manner_of(engine(server.url))
    assert len(server.seen) == tries


def test_an_endpoint_that_rejects_a_manner_is_asked_in_the_next(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served() as server:
        server.play = in_turn((400, {}, {"error": {"message": "no such number of alternatives"}}))
        with pytest.raises(ModelError, match="answered 400"):
            manner_of(engine(server.url))
    assert len(server.seen) == 4
