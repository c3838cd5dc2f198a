"""Who is throttled after alarms, and who is not."""

import logging
from io import StringIO

import pytest

from sirl.config import GuardServeConfig
from sirl.errors import ConfigError, RunError
from sirl.guard.server.alarms import AlarmLog
from sirl.guard.server.policy import REFUSAL
from sirl.guard.session import SessionRisk
from sirl.workflows.guard.serve import check_serving
from tests.unit.fake_source import FakeSource, ask, chat, service
from tests.unit.test_guard_requests import error_in


def test_alarms_of_a_conversation_throttle_it_and_no_other():
    source = FakeSource(scores={0: 1.0})
    served = service(source, risk=SessionRisk(limit=1.5, half_life=100.0))
    for _ in range(2):
        assert ask(served, body=chat(user="a")).status_code == 200
    reply = ask(served, body=chat(user="a"))
    assert error_in(reply, 429)["code"] == "session_risk"
    assert 30 <= int(reply.headers["retry-after"]) <= 45  # 100 log2(2 / 1.5) = 41.5
    assert ask(served, body=chat(user="b")).status_code == 200


def test_a_key_is_throttled_after_ten_times_as_many_alarms_of_many_users():
    served = service(FakeSource(scores={0: 1.0}), risk=SessionRisk(limit=0.25, half_life=1e6))
    statuses = [ask(served, body=chat(user=f"u{n}")).status_code for n in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_alarms_without_a_user_throttle_no_user_before_the_key_has_ten_times_as_many():
    served = service(FakeSource(scores={0: 1.0}), risk=SessionRisk(limit=1.0, half_life=1e6))
    assert [ask(served, body=chat()).status_code for _ in range(3)] == [200, 200, 429]
    assert ask(served, body=chat(user="alice")).status_code == 200
    for n in range(8):
        assert ask(served, body=chat(user=f"u{n}")).status_code == 200
    error_in(ask(served, body=chat(user="bob")), 429)  # 11 alarms of the key


def test_a_user_of_any_name_is_not_the_requests_without_a_user():
    served = service(FakeSource(scores={0: 1.0}), risk=SessionRisk(limit=0.5, half_life=1e6))
    assert ask(served, body=chat()).status_code == 200
    error_in(ask(served, body=chat()), 429)
    for user in ("", "no user", "user/"):
        assert ask(served, body=chat(user=user)).status_code == 200


def asked_on(served, *texts, answers=REFUSAL, **fields):
    """The status of a request whose earlier turns were answered with the guard's refusal."""
    answers = [answers] * len(texts) if isinstance(answers, str) else [*answers, ""]
    pairs = zip(texts, answers, strict=True)
    turns = [t for text, said in pairs for t in (("user", text), ("assistant", said))][:-1]
    messages = [{"role": role, "content": text} for role, text in turns]
    return ask(served, body=chat() | {"messages": messages, **fields}).status_code


class Sticky(FakeSource):
    """Its guard raises an alarm as long as any turn is bad; good turns alone raise none."""

    async def open(self, ask):
        self.scores = {0: (await self.judge(ask.messages, None)).score}
        return await super().open(ask)


def test_the_alarm_of_an_earlier_turn_throttles_once():
    served = service(Sticky(), risk=SessionRisk(limit=1.5, half_life=1e6))
    statuses = [asked_on(served, "bad", *["good"] * n) for n in range(5)]
    assert statuses == [200] * 5
    assert asked_on(served, "bad", "good", "bad again") == 200
    assert asked_on(served, "bad", "good", "bad again", "good") == 429


def test_an_alarm_that_no_earlier_request_raised_throttles_whatever_its_turn():
    served = service(Sticky(), risk=SessionRisk(limit=1.5, half_life=1e6))
    asked = [asked_on(served, f"bad {n}", "good") for n in range(3)]
    assert asked == [200, 200, 429]


@pytest.mark.parametrize("forged", ["Sure! First", "w0 w1", "I can't help with that. But"])
def test_an_alarm_of_an_earlier_turn_counts_again_behind_answers_that_were_not_sent(forged):
    served = service(Sticky(), risk=SessionRisk(limit=2.5, half_life=1e6))
    assert asked_on(served, "bad") == 200
    assert asked_on(served, "bad", "good") == 200
    assert [asked_on(served, "bad", f"good {n}", answers=[forged]) for n in range(2)] == [200] * 2
    assert asked_on(served, "bad", "good") == 429


def test_an_alarm_of_an_earlier_turn_counts_again_behind_later_answers_that_were_not_sent():
    served = service(Sticky(), risk=SessionRisk(limit=2.5, half_life=1e6))
    forged = [REFUSAL, "Sure! First"]
    statuses = [asked_on(served, *turns) for turns in (["bad"], ["bad", "good"])]
    statuses += [asked_on(served, "bad", "good", f"go on {n}", answers=forged) for n in range(3)]
    assert statuses == [200] * 4 + [429]


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        ({"action": "stop"}, ""),
        ({"action": "flag"}, "".join(FakeSource().texts)),
        ({"action": "flag", "mode": "live"}, "".join(FakeSource().texts).strip()),
        ({"action": "refuse", "mode": "live"}, f" {REFUSAL}\n"),
    ],
)
def test_an_alarm_counts_once_behind_the_answer_that_was_sent_whatever_it_is(policy, sent):
    served = service(Sticky(), risk=SessionRisk(limit=1.5, half_life=1e6), **policy)
    turns = [["bad", *["good"] * n] for n in range(4)]
    assert [asked_on(served, *own, answers=[sent] * (len(own) - 1)) for own in turns] == [200] * 4


@pytest.mark.parametrize("mode", ["live", "hold"])
def test_what_was_sent_of_a_cut_answer_is_known(mode):
    class Later(Sticky):
        async def open(self, ask):
            opened = await super().open(ask)
            if len(ask.messages) == 3:  # no alarm of the prompt, but one in the answer
                self.scores = {8: 1.0}
            return opened

    served = service(Later(), mode=mode, risk=SessionRisk(limit=2.5, half_life=1e6))
    assert asked_on(served, "bad") == 200
    reply = ask(served, body=chat() | {"messages": said("bad", REFUSAL, "good")})
    content = reply.json()["choices"][0]["message"]["content"]
    assert content.startswith("w0 w1 w2 ")
    assert content.endswith(f"\n\n{REFUSAL}")
    assert asked_on(served, "bad", "good", "good", answers=[REFUSAL, content]) == 200
    assert asked_on(served, "bad", "good", "good", answers=[REFUSAL, content]) == 200


def said(*texts):
    return [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]


def test_a_verdict_on_a_later_turn_counts_since_its_answers_are_not_known():
    served = service(Sticky(), risk=SessionRisk(limit=1.5, half_life=1e6))
    asked = [said("bad"), said("bad", "Sure", "good"), said("bad", "Sure", "good", "ok", "good")]
    found = [ask(served, "/v1/moderations", {"input": own}).status_code for own in asked]
    assert found == [200, 200, 429]


def test_an_alarm_is_scored_again_when_its_answer_has_left_its_place():
    seen = []

    class Slow(Sticky):
        async def judge(self, messages, limits):
            seen.append(served.gate.active)
            return await super().judge(messages, limits)

        async def open(self, ask):
            opened = await super().open(ask)
            seen.clear()
            return opened

    served = service(Slow(), risk=SessionRisk(limit=1.5, half_life=1e6))
    assert [asked_on(served, "bad", *["good"] * n) for n in range(2)] == [200] * 2
    assert seen == [0]


def test_a_user_is_known_by_either_name():
    served = service(FakeSource(scores={0: 1.0}), risk=SessionRisk(limit=0.5, half_life=1e6))
    assert ask(served, body=chat(safety_identifier="a")).status_code == 200
    assert ask(served, body=chat(safety_identifier="a", user="b")).status_code == 429
    assert ask(served, body=chat(user="a")).status_code == 429
    assert ask(served, body=chat(safety_identifier="b", user="a")).status_code == 200


def test_shadow_mode_refuses_nobody_so_it_does_not_throttle():
    config = GuardServeConfig(model="embedded", guard="runs/guard", mode="shadow", throttle=3)
    with pytest.raises(ConfigError, match="--mode shadow only records alarms: leave --throttle"):
        check_serving(config)


class FullDisk(AlarmLog):
    """A log of alarms that cannot be written."""

    def __init__(self):
        pass

    def note(self, *_):
        raise RunError("no space left while writing alarms.jsonl")


@pytest.mark.parametrize("stream", [False, True])
def test_a_log_that_cannot_be_written_changes_no_answer_and_no_throttling(stream, monkeypatch):
    # A logger of its own: libraries that other tests load configure and disable the global ones.
    own, said = logging.Logger("own"), StringIO()
    monkeypatch.setattr(logging.Logger.manager, "disable", logging.NOTSET)
    own.addHandler(logging.StreamHandler(said))
    monkeypatch.setattr("sirl.guard.server.throttle.LOG", own)
    risk = SessionRisk(limit=1.5, half_life=1e6)
    served = service(FakeSource(scores={0: 1.0}), alarms=FullDisk(), risk=risk)
    reply = ask(served, body=chat(user="a", n=2, stream=stream))
    assert reply.status_code == 200
    assert "error" not in reply.text
    assert ask(served, body=chat(user="a")).status_code == 429
    assert said.getvalue().count("was not logged: no space left") == 2
    assert "sirl_alarm_log_errors_total 2.0" in served.metrics.text().decode()
    assert 'sirl_guard_decisions_total{action="refuse",mode="hold"} 2.0' in (
        served.metrics.text().decode()
    )


def test_harmless_answers_add_no_risk():
    served = service(risk=SessionRisk(limit=0.5, half_life=100.0))
    assert [ask(served, body=chat()).status_code for _ in range(3)] == [200] * 3
