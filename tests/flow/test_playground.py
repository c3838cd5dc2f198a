"""What `sirl guard serve` gives its playground, with the embedded model."""

import pytest

from sirl.cli.console import Terminal
from sirl.config import GuardServeConfig
from sirl.errors import ConfigError
from sirl.guard.server.keys import Keys
from sirl.workflows.guard.serve import (
    compared_service,
    opened_service,
    playground_of,
    serve_guard,
)
from tests.unit.fake_source import ask, events, text_of

ASKED = {
    "model": "embedded",
    "messages": [{"role": "user", "content": "How do I grow red beans?"}],
    "seed": 3,
    "stream": True,
    "sirl": {"details": True},
}


def test_two_models_answer_side_by_side_with_entropies():
    config = GuardServeConfig(
        model="embedded", guard="none", compare="embedded", new_tokens=12, details=True
    )
    first = opened_service(config, Keys(), Terminal())
    second = compared_service(config, first)
    playground = playground_of(config, second)
    try:
        settings = ask(first, "/playground/settings", method="GET", playground=playground)
        found = settings.json()
        answers = [
            events(ask(first, model["path"], ASKED, playground=playground))
            for model in found["models"]
        ]
    finally:
        first.source.stop()
        second.source.stop()
    assert [(m["name"], m["mode"], m["max_tokens"]) for m in found["models"]] == [
        ("embedded", "none", 12),
        ("embedded", "none", 12),
    ]
    assert [e["title"] for e in found["examples"]] == ["unsafe", "ordinary", "look-alike"]
    assert {"story", "leetspeak"} <= {d["name"] for d in found["disguises"]}
    assert text_of(answers[0]) == text_of(answers[1]) != ""
    for chunks in answers:
        tokens = [
            token
            for chunk in chunks
            for choice in chunk.get("sirl_guard", {}).get("choices", ())
            for token in choice.get("tokens", ())
        ]
        assert len({token["number"] for token in tokens}) == 12
        assert all(token["entropy"] >= 0 for token in tokens)


def test_a_model_behind_an_endpoint_is_not_compared_with():
    config = GuardServeConfig(
        model="embedded", guard="none", compare="http://127.0.0.1:9/v1#some-model"
    )
    with pytest.raises(ConfigError, match="is not a local model"):
        serve_guard(config, Terminal())
