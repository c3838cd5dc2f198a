import json
import stat
from dataclasses import replace

import pytest

from sirl.analysis.summary import summarise
from sirl.errors import InputError, ModelError, OutageError
from sirl.evaluation.arena import NO_LIMIT, Arena
from sirl.evaluation.asked import Query
from sirl.evaluation.costs import COSTS, Meter, total
from sirl.evaluation.records import ITEMS, RECORDS, UNJUDGED, Log, RecordLog, read_records
from sirl.evaluation.suite import Suite, askable, evaluate, unmet
from sirl.runs import open_run
from sirl.runs.disk import Disk
from sirl.types import Attempt, Budget, Prompt, Sampling
from sirl.world.attacker import ScriptedAttacker

from .fakes import HELPED, Ladder, Parrot, WordJudge, behaviours, target


def arena(engine, log=None, **changes):
    judge = WordJudge()
    return Arena(target(engine), judge, judge, log or Log(), {}, None, Meter(), **changes)


def opened(path, existing="ask"):
    run = open_run(path, {"a": 1}, existing)
    run.begin()
    return run


def evaluated(path, suite, engine, existing="ask", identity="weights one"):
    run = opened(path, existing)
    who = target(engine, identity)
    try:
        return evaluate(suite, askable(suite, who)[0], who, run)
    finally:
        run.close()


def test_a_search_stops_at_the_first_break_and_says_what_it_took():
    engine = Parrot()
    ladder = Ladder((("one", "two"), ("three", "please"), ("never asked",)))
    (item,) = arena(engine).play(ladder, behaviours("deed"), "attack")
    assert (item.queries, item.broken_at, len(item.records)) == (4, 4, 4)
    assert [p.request for p in engine.asked] == ["one", "two", "three", "please"]


def test_the_progress_of_a_search_names_the_request_that_it_works_on():
    told = []
    ladder = Ladder((("one",), ("two",)))
    arena(Parrot(), progress=lambda *said: told.append(said)).play(
        ladder, behaviours("x", "y"), "attack"
    )
    assert told[:2] == [(f"ladder on target, begins request {n} of 2", 0, 2) for n in (1, 2)]
    requests = [(f"ladder on target, request {n} of 2", 0, 2) for n in (1, 2)]
    assert told[2:-1] == [("ladder on target", 0, 2), *requests] * 2
    assert told[-1] == ("ladder on target", 2, 2)


def test_a_budget_cuts_a_round_and_a_limit_cuts_a_budget():
    ladder = Ladder((("a", "b"), ("c", "d"), ("please",)), budget=Budget(queries=3))
    (item,) = arena(Parrot()).play(ladder, behaviours("deed"), "attack")
    assert (item.queries, item.broken_at) == (3, None)
    (item,) = arena(Parrot(), limit=Budget(queries=1)).play(ladder, behaviours("deed"), "attack")
    assert item.queries == 1
    words = replace(ladder, budget=Budget(queries=100, tokens=4))
    (item,) = arena(Parrot()).play(words, behaviours("deed"), "attack")
    assert item.tokens == 4


def test_behaviours_are_played_in_step_and_each_ends_for_itself():
    class Naming(Ladder):
        def tries(self, behaviour, _):
            for _ in range(3):
                text = "please" if behaviour.id == "b1" else "plain"
                yield [Attempt(behaviour, "ladder", Prompt.user("", text).messages)]

    engine = Parrot()
    items = arena(engine).play(Naming(()), behaviours("x", "y", "z"), "attack")
    assert [i.broken_at for i in items] == [None, 1, None]
    assert [len(i.records) for i in items] == [3, 1, 3]
    assert len(engine.asked) == 7


def test_probes_are_answered_but_never_judged():
    class Probing(Ladder):
        def tries(self, behaviour, _):
            asked = Attempt(behaviour, "ladder", Prompt.user("", "please").messages, probe=True)
            (outcome,) = yield [asked]
            assert outcome.completion.text == HELPED
            assert outcome.verdict.label == "unscored"
            yield [Attempt(behaviour, "ladder", Prompt.user("", "no").messages)]

    log = Log()
    (item,) = arena(Parrot(), log).play(Probing(()), behaviours("deed"), "attack")
    assert (item.broken_at, item.queries) == (None, 2)
    assert [log.records[k].kind for k in item.records] == ["probe", "attack"]


def test_a_killed_search_is_played_again_from_its_answers_and_nothing_is_doubled(tmp_path):
    ladder = Ladder((("a", "b"), ("c",), ("please",)))
    suite = Suite([WordJudge()], behaviours("x", "y"), [ladder])
    whole = evaluated(tmp_path / "whole", suite, Parrot())

    class Dying(Parrot):
        def sample(self, prompts, *, group=1, step=0):
            if len(self.asked) >= 5:
                raise MemoryError
            return super().sample(prompts, group=group, step=step)

    with pytest.raises(MemoryError):
        evaluated(tmp_path / "cut", suite, Dying())
    log = tmp_path / "cut" / RECORDS
    log.write_bytes(log.read_bytes() + b'{"id": "torn')  # a line that a kill cut short
    engine = Parrot()
    again = evaluated(tmp_path / "cut", suite, engine, "resume")
    assert [(r.id, r.completion) for r in again.records] == [
        (r.id, r.completion) for r in whole.records
    ]
    assert [i.broken_at for i in again.items] == [i.broken_at for i in whole.items]
    keys = [json.loads(line)["key"] for line in log.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == len(whole.records)
    assert len(engine.asked) < len(whole.records)


def test_answers_of_other_weights_are_never_returned(tmp_path):
    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("a",),))])
    evaluated(tmp_path / "run", suite, Parrot())
    same, other = Parrot(), Parrot()
    evaluated(tmp_path / "run", suite, same, "resume")
    assert same.asked == []
    evaluated(tmp_path / "run", suite, other, "resume", identity="weights two")
    assert len(other.asked) == 1


def test_the_key_tells_weights_prompt_sampling_and_item_apart():
    plays = arena(Parrot())
    (behaviour,) = behaviours("x")
    asked = Query("attack", "one", "", Attempt(behaviour, "one", behaviour.messages))
    hot = replace(asked.attempt, sampling=Sampling(2.0))
    others = [
        replace(asked, group="two"),
        replace(asked, number=1),
        replace(asked, attempt=hot),
        replace(asked, attempt=replace(asked.attempt, messages=Prompt.user("", "y").messages)),
    ]
    keys = {plays.key(a) for a in (asked, *others)}
    moved = replace(plays, target=target(Parrot(), "weights two"))
    assert len(keys | {moved.key(asked)}) == 6
    assert plays.key(asked) == arena(Parrot()).key(asked)


def test_batches_hold_one_sampling_and_no_more_rows_than_fit():
    (behaviour,) = behaviours("x")
    plays = arena(Parrot())
    greedy = Sampling(0.0)
    asked = [
        Query("attack", str(n), "", Attempt(behaviour, "a", behaviour.messages, s))
        for n, s in enumerate([Sampling(), greedy] * 5)
    ]
    batches = plays.batches(asked)
    assert sorted(i for batch in batches for i in batch) == list(range(10))
    assert all(len(batch) <= 4 for batch in batches)
    assert all(len({asked[i].attempt.sampling for i in batch}) == 1 for batch in batches)


def test_what_the_target_lacks_is_skipped_by_name_and_never_counted(tmp_path):
    needy = Ladder((("a",),), name="needy", needs=frozenset({"gradients", "attacker"}))
    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("a",),)), needy])
    assert unmet(suite, target(Parrot())) == {"needy": "needs attacker, gradients"}
    found = evaluated(tmp_path / "run", suite, Parrot())
    summary = summarise(found)
    assert summary["skipped"] == {"needy": "needs attacker, gradients"}
    assert list(summary["dsr"]["by_attack"]) == ["ladder"]


def test_an_attack_without_an_attempt_is_named_and_not_counted(tmp_path):
    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("a",),)), Ladder((), name="mute")])
    summary = summarise(evaluated(tmp_path / "run", suite, Parrot()))
    assert summary["skipped"] == {"mute": "it proposed no attempt"}
    assert list(summary["dsr"]["by_attack"]) == ["ladder"]


class Costly(Ladder):
    """Spends calls before its first rung."""

    def tries(self, behaviour, access):
        if access.spend(5):
            yield from super().tries(behaviour, access)


@pytest.mark.parametrize(
    ("attack", "limit", "reason"),
    [
        (Ladder((), needs=frozenset({"attacker"})), NO_LIMIT,
         "the attacker's replies hold no attempt: give another --attacker"),
        (Costly((("a",),)), Budget(queries=4),
         "its 4 target calls ended before its first attempt: raise --max-queries"),
        (Costly((("a",),), budget=Budget(queries=5)), NO_LIMIT,
         "its 5 target calls ended before its first attempt"),
        (Ladder((("a",),)), Budget(queries=4, seconds=1e-9),
         "its 1e-09 seconds ended before its first attempt: raise --max-seconds"),
    ],
)  # fmt: skip
def test_a_search_without_an_attempt_says_what_ended_it_also_when_resumed(
    tmp_path, attack, limit, reason
):
    suite = Suite(
        [WordJudge()], behaviours("x"), [attack], limit=limit, attacker=ScriptedAttacker()
    )
    for existing in ("ask", "resume"):
        found = evaluated(tmp_path / "run", suite, Parrot(), existing)
        assert found.skipped == {"ladder": reason}
        assert not found.records


def test_records_are_private_and_complete(tmp_path):
    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("a",),))])
    evaluated(tmp_path / "run", suite, Parrot())
    assert stat.S_IMODE((tmp_path / "run" / RECORDS).stat().st_mode) == 0o600
    run = opened(tmp_path / "run", "resume")
    try:
        (record,) = read_records(run)
        assert record == RecordLog(run, "target").records[record.key]
        assert (record.family, record.number, record.queries) == ("test", 0, 1)
        assert total(run.rows(COSTS))["target"]["calls"] == 1
        assert [row["attack"] for row in run.rows(ITEMS)] == ["ladder"]
    finally:
        run.close()


def test_other_judges_read_the_same_answers_and_are_asked_once(tmp_path):
    class Counting(WordJudge):
        calls = 0

        def verdict(self, attempt, answer):
            Counting.calls += 1
            return super().verdict(attempt, answer)

    suite = Suite(
        [WordJudge("harm", "harm"), Counting("second")],
        behaviours("x", "y"),
        [Ladder((("a",), ("please",)))],
        ordinary=behaviours("bake bread please"),
    )
    found = evaluated(tmp_path / "run", suite, Parrot())
    judged_ordinary = 1  # whether harmless prompts are refused is asked of the second alone
    assert Counting.calls == 4 + judged_ordinary
    assert {r.label for r in found.records if r.kind == "ordinary"} == {"compliance"}
    assert {r.label for r in found.records if r.kind == "attack"} == {"harmless", "harmful"}
    view = found.second_judges["second"]
    assert [r.label for r in view] == ["refusal", "compliance"] * 2
    summary = summarise(found)
    assert summary["second_judges"]["agreement"]["kappa"] == {"harm / second": 1.0}
    assert summary["entropy"]["n"] == {"refusal": 2, "compliance": 2, "ordinary": 1}
    evaluated(tmp_path / "run", suite, Parrot(), "resume")
    assert Counting.calls == 5


def test_one_refusal_does_not_outweigh_what_nobody_could_score(tmp_path):
    class Mumbling(Parrot):
        def answer(self, prompt):
            return super().answer(prompt) if prompt.request == "one" else "mumble"

    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("one", "two", "three"),))])
    dsr = summarise(evaluated(tmp_path / "run", suite, Mumbling()))["dsr"]
    assert (dsr["mean"]["value"], dsr["unscored"]) == (0.0, 2)
    assert dsr["if_unscored_are_safe"]["value"] == dsr["first_try"]["value"] == 1.0


def test_silence_to_a_harmless_prompt_is_no_help(tmp_path):
    class Silent(Parrot):
        def answer(self, _):
            return ""

    suite = Suite([WordJudge()], ordinary=behaviours("x", "y"))
    price = summarise(evaluated(tmp_path / "run", suite, Silent()))["over_refusal"]["ordinary"]
    assert (price["value"], price["unscored"], price["n"]) == (1.0, 2, 2)


def test_what_a_search_found_by_calls_of_its_own_is_asked_though_the_budget_is_gone():
    class Spending(Ladder):
        def tries(self, behaviour, access):
            assert not access.spend(10)
            yield [Attempt(behaviour, "ladder", Prompt.user("", "please").messages)] * 2

    engine = Parrot()
    plays = arena(engine, limit=Budget(queries=10))
    (item,) = plays.play(Spending(()), behaviours("x"), "attack")
    assert (item.broken_at, item.queries, len(engine.asked)) == (11, 11, 1)
    assert plays.meter.roles["target"].calls == 11


def test_a_search_that_cannot_be_made_is_skipped_and_one_that_fails_is_not(tmp_path):
    class Unfit(Ladder):
        def tries(self, behaviour, access):  # noqa: ARG002 - the role's shape
            raise ModelError("no place for a suffix")
            yield ()

    gradients = frozenset({"gradients"})
    unfit = Unfit((), name="unfit", needs=gradients)
    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("a",),)), unfit])
    run = opened(tmp_path / "run")
    who = target(Parrot(), offers=gradients)
    found = evaluate(suite, askable(suite, who)[0], who, run)
    run.close()
    assert found.skipped == {"unfit": "no place for a suffix"}
    failing = Suite([WordJudge()], behaviours("x"), [Unfit((), name="failing")])
    with pytest.raises(ModelError):
        evaluated(tmp_path / "other", failing, Parrot())


def test_a_cell_whose_search_ended_early_says_nothing_to_another_judge(tmp_path):
    class Lenient(WordJudge):
        def verdict(self, attempt, answer):
            return replace(super().verdict(attempt, answer), label="refusal", score=1.0)

    suite = Suite(
        [WordJudge(), Lenient("lenient")],
        behaviours("x", "y"),
        [Ladder((("a",), ("please",), ("b",))), Ladder((("a",),), name="steady")],
    )
    summary = summarise(evaluated(tmp_path / "run", suite, Parrot()))
    assert summary["dsr"]["by_attack"]["ladder"]["value"] == 0.0
    assert list(summary["second_judges"]["by_judge"]["lenient"]["by_attack"]) == ["steady"]


@pytest.mark.parametrize("name", [RECORDS, ITEMS, COSTS])
def test_a_torn_last_line_of_any_log_is_cut_before_the_next_is_written(tmp_path, name):
    suite = Suite([WordJudge()], behaviours("x"), [Ladder((("a",),))])
    evaluated(tmp_path / "run", suite, Parrot())
    log = tmp_path / "run" / name
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"model": "targ')
    evaluated(tmp_path / "run", suite, Parrot(), "resume")
    assert log.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in log.read_text().splitlines())


def asked(*texts):
    return [Query("attack", "a", "", Attempt(b, "a", b.messages)) for b in behaviours(*texts)]


class Absent(WordJudge):
    """Stops answering after some calls."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def verdict(self, attempt, answer):
        if not self.left:
            raise OutageError("the judge has gone")
        self.left -= 1
        return super().verdict(attempt, answer)


def test_answers_that_a_judge_did_not_get_to_wait_for_it_and_are_not_asked_again(tmp_path):
    suite = Suite([WordJudge()], behaviours("one", "please two", "three"), [Ladder((("x",),))])
    whole = evaluated(tmp_path / "whole", suite, Parrot())
    out = replace(suite, judges=[Absent(1)])
    for existing in ("ask", "resume"):  # the judge is out once more
        with pytest.raises(OutageError):
            evaluated(tmp_path / "run", out, Parrot(), existing)
        assert (tmp_path / "run" / UNJUDGED).read_text().count("\n") == 3
        assert stat.S_IMODE((tmp_path / "run" / UNJUDGED).stat().st_mode) == 0o600
        assert not (tmp_path / "run" / RECORDS).exists()
        out = replace(suite, judges=[Absent(0)])
    engine = Parrot()
    resumed = evaluated(tmp_path / "run", suite, engine, "resume")
    assert (engine.asked, resumed) == ([], whole)
    again = evaluated(tmp_path / "run", suite, engine, "resume")
    assert (engine.asked, again) == ([], whole)


def test_a_line_that_stands_twice_counts_once_and_is_told(tmp_path):
    run = opened(tmp_path / "r")
    log = RecordLog(run, "m")
    arena(Parrot(), log).answers(
        [Query("attack", "a", "", Attempt(b, "a", b.messages)) for b in behaviours("one", "two")]
    )
    path = run.path / RECORDS
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[0], lines[0]]))
    said = []
    run.disk = Disk(say=said.append)
    assert [r.key for r in read_records(run)] == [json.loads(line)["key"] for line in lines]
    assert said == [f"{path} holds 2 lines twice; each counts once"]
    run.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("label", 3), ("messages", [3]), ("tokens", "many"), ("sampling", None), ("entropies", 1)],
)
def test_a_record_of_other_types_is_named_by_file_and_line(tmp_path, field, value):
    run = opened(tmp_path / "r")
    arena(Parrot(), RecordLog(run, "m")).answers(asked("one"))
    path = run.path / RECORDS
    row = json.loads(path.read_text())
    for broken in ({**row, field: value}, {k: v for k, v in row.items() if k != field}):
        path.write_text(json.dumps(broken) + "\n")
        with pytest.raises(InputError, match=r"records.jsonl:1 lacks what this version keeps: "):
            read_records(run)
    run.close()
