"""Replies and verdicts that were paid for, after an outage, an interruption and a fault."""

import pytest

from sirl import registry
from sirl.cli.console import Terminal
from sirl.config import GuardEvaluateConfig
from sirl.errors import InputError, OutageError, PluginError, RunError, Stopped
from sirl.guard.server.source import Ask
from sirl.guard.upstream.asking import UpstreamManner, answer_body
from sirl.guard.upstream.endpoint_guard import Identity, Witness
from sirl.guard.upstream.heard import Names
from sirl.judges.own_sentences import OwnSentences
from sirl.judges.rules import RefusalRules
from sirl.roles import silent
from sirl.runs import open_run
from sirl.runs.kept import Kept
from sirl.runs.places import KEPT
from sirl.types import Attempt, Prompt, Verdict
from sirl.workflows.frame import Frame
from sirl.workflows.guard.endpoint_answers import Exchange, replied, shown
from tests.unit.fake_endpoint import fine, served

ITEMS = [(Attempt(Prompt.user("clock", "Wind the clock"), "direct", ()), "It is wound.")]
FOLDER_IN_USE = {".lock", "config.yaml", "run.json", KEPT}


def config(out="r", **settings):
    return GuardEvaluateConfig(model="embedded", guard="g", out=str(out), **settings)


@pytest.fixture
def asking(tmp_path):
    with served() as server:
        server.play = lambda _: fine("rating: 10")
        engine = registry.endpoint(f"{server.url}#small", config(), 8)
        manner = UpstreamManner(5, 1)
        exchange = Exchange(engine, manner, Names(), silent, Terminal())
        exchange.kept = Kept(tmp_path / KEPT)
        prompt = Prompt.user("clock", "Wind the clock")
        yield exchange, [answer_body("small", Ask(prompt.messages, 8, seed=1), manner)]


def asked(place, error):
    """Ask a little in a verb that an error ends; what the folder holds then."""
    settings = config(place)
    with pytest.raises(type(error)) as caught, Frame("guard evaluate", resumable=False) as frame:  # noqa: PT012
        run = frame.hold(open_run(place, settings.model_dump(), "ask", resumable=False))
        frame.begin(run, settings, keeps=(KEPT,))
        frame.kept(run, Terminal()).add([{"key": "a", "reply": "It is wound."}])
        raise error
    return {p.name for p in place.glob("*")}, str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        *(InputError("too few"), PluginError("it raised"), OutageError("gone")),
        *(RuntimeError(), Stopped("stopped"), KeyboardInterrupt()),
    ],
)
def test_whatever_ends_a_verb_leaves_what_was_paid_for(tmp_path, error):
    names, said = asked(tmp_path / "r", error)
    assert names == FOLDER_IN_USE
    # What is no SirlError is a bug, and who stopped says so itself.
    silent = isinstance(error, RuntimeError | Stopped)
    assert ("give the command again with --overwrite to go on" in said) != silent
    run = open_run(tmp_path / "r", config(tmp_path / "r").model_dump(), "overwrite")
    run.begin(keeps=(KEPT,))
    assert list(Kept.of_run(run.path).rows) == ["a"]
    run.close()


def test_an_outage_before_the_first_reply_leaves_no_file(tmp_path):
    kept = Kept(tmp_path / "trust.json.kept.jsonl")
    with pytest.raises(OutageError, match="^gone$"), kept.until_done("again"):  # noqa: PT012
        kept.add([])
        raise OutageError("gone")
    assert list(tmp_path.iterdir()) == []


class Own:
    """A judge of the user's, which errs until it is mended."""

    name, question = "own", "harm"
    label = "harmless"

    def verdict(self, attempt, answer):  # noqa: ARG002 - the role's shape
        return Verdict(self.label, 0.0, "", self.name)


def test_a_mended_judge_of_the_user_is_asked_again(tmp_path):
    judging = registry.remembering(Own(), Kept(tmp_path / KEPT))
    assert judging.verdict(*ITEMS[0]).label == "harmless"
    mended = Own()
    mended.label = "harmful"
    judging = registry.remembering(mended, Kept(tmp_path / KEPT))
    assert judging.verdict(*ITEMS[0]).label == "harmful"
    assert not (tmp_path / KEPT).exists()


def test_rules_are_not_kept(tmp_path):
    rules = RefusalRules()
    assert registry.remembering(rules, Kept(tmp_path / KEPT)) is rules


def test_an_endpoint_is_asked_for_no_verdict_twice(tmp_path):
    (tmp_path / "own.txt").write_text("That clock stays as it is.\n")
    with served() as server:
        named = f"pair_rating:{server.url}#small"
        verdicts = fine("rating: 10"), fine("verdict: full refusal")
        rating = registry.judge_named(named, config())
        refusing = registry.judge_named(f"refusal_three_way:{server.url}#small", config())
        together = registry.judge_named(f"{named}+{named.replace('small', 'large')}", config())
        own = OwnSentences(refusing, tmp_path / "own.txt")
        for judge in (rating, together, own):
            server.play = lambda _, judge=judge: verdicts[judge is own]
            place = tmp_path / f"{len(judge.name)}.jsonl"
            first = registry.remembering(judge, Kept(place)).verdicts(ITEMS)
            server.seen.clear()
            again = registry.remembering(judge, Kept(place))
            assert again.verdicts(ITEMS) == first
            assert (again.name, again.identity, server.seen) == (judge.name, judge.identity, [])


def test_what_an_unfinished_command_has_left_is_announced(tmp_path):
    kept = Kept(tmp_path / KEPT)
    assert kept.notes() == []
    kept.add([{"key": "a", "reply": {}}])
    (said,) = Kept(tmp_path / KEPT).notes()
    assert said.startswith(f"1 reply or verdict is taken from {tmp_path / KEPT}, if asked for in")
    kept.add([{"key": "b", "label": "harmful"}])
    assert kept.notes()[0].startswith("2 replies and verdicts are taken from ")


@pytest.mark.parametrize("row", ["[]", "{", '{"name": "a"}', '{"key": []}'])
def test_a_file_that_keeps_something_else_is_named(tmp_path, row):
    (tmp_path / KEPT).write_text(f'{{"key": "a"}}\n{row}\n')
    with pytest.raises(RunError, match=f"^{tmp_path / KEPT} is damaged, or holds .*: remove the"):
        Kept(tmp_path / KEPT)


@pytest.mark.parametrize("row", [{}, {"label": "harmful"}, {"reply": 3}, {"reply": {"text": ""}}])
def test_a_row_that_holds_something_else_is_named(tmp_path, asking, row):
    exchange, bodies = asking
    replied(exchange, "answers", bodies)
    rating = registry.judge_named(f"pair_rating:{exchange.engine.url}#small", config())
    remembering = registry.remembering(rating, exchange.kept)
    remembering.verdicts(ITEMS)
    rows = {key: {"key": key, **row} for key in exchange.kept.rows}
    exchange.kept.rows |= rows
    for work in (lambda: replied(exchange, "answers", bodies), lambda: remembering.verdicts(ITEMS)):
        with pytest.raises(RunError, match=f"^{tmp_path / KEPT} is damaged, or holds"):
            work()


def test_replies_of_another_model_under_the_same_name_are_not_taken(asking):
    exchange, bodies = asking
    for service, rows in (("one", 1), ("one", 1), ("another", 2), ("another", 2)):
        exchange.service = service
        (answer,) = replied(exchange, "answers", bodies)
        assert answer.text == "rating: 10"
        assert len(exchange.kept.rows) == rows


def identity(served="m-1", prints=(), **likely):
    top = tuple(likely.items()) or (("Well", -0.1), ("So", -2.4))
    return Identity("m", served, prints, (Witness("Name a clock.", top), Witness("Wind it.", ())))


def test_a_model_is_known_by_its_name_its_fingerprints_and_its_likeliest_tokens():
    same = shown(identity())
    assert shown(identity(So=-2.3, Well=-0.2)) == same
    others = [identity("m-2"), identity(prints=("fp",)), identity(Well=-2.4, So=-0.1)]
    assert len({same, *map(shown, others)}) == 4
