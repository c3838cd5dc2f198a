"""The instinct is read once per run, and an instinct that teaches nothing is refused."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sirl.errors import ConfigError, InputError, Stopped, TrainingError
from sirl.instinct import Instinct
from sirl.roles import silent
from sirl.runs import open_run
from sirl.types import Completion, Prompt
from sirl.workflows.instinct import (
    AskedOnce,
    check_counts,
    instinct_notes,
    read_instinct,
    read_own_answers,
    summarise_instinct,
    unlike_refusals,
)

POOL = [Prompt.user(f"{kind}-{n}", kind) for kind in ("unsafe", "kind") for n in range(6)]


class Model:
    """Refuses unsafe prompts surely and answers the others less surely."""

    def __init__(self, unsafe: float = 0.2, kind: float = 1.0, spread: float = 0.01) -> None:
        self.entropy = {"unsafe": unsafe, "kind": kind}
        self.spread = spread
        self.asked = 0

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        del step
        self.asked += len(prompts) * group
        return [
            Completion(
                p.id, (1,), (2,), "x", (-0.1,),
                (self.entropy[p.request] + self.spread * (k + group * int(p.id[-1])),), "stop",
            )
            for p in prompts
            for k in range(group)
        ]  # fmt: skip


def test_the_instinct_is_saved_and_a_resumed_run_asks_nothing(tmp_path: Path) -> None:
    model = Model()
    with closing(open_run(tmp_path / "r", {"seed": 0}, "ask")) as run:
        run.begin()
        first = read_instinct(run, AskedOnce(model, run), POOL, 8, 16, silent)
        again = read_instinct(run, AskedOnce(model, run), POOL, 8, 16, silent)
    assert model.asked == 12 * 8
    assert again == first
    assert first.prompts("refuse") == [f"unsafe-{n}" for n in range(6)]
    assert summarise_instinct(first)["comply"] == 6


def test_own_answers_are_read_along_with_the_instinct_and_saved(tmp_path: Path) -> None:
    model = Model()
    with closing(open_run(tmp_path / "r", {"seed": 0}, "ask")) as run:
        run.begin()
        once = AskedOnce(model, run)
        instinct = read_instinct(run, once, POOL, 8, 16, silent)
        first = read_own_answers(run, instinct, once, POOL, 8, 16, silent)
        again = read_own_answers(run, instinct, AskedOnce(Model(), run), [], 8, 16, silent)
    assert model.asked == 12 * 8
    assert again == first
    assert set(first.refusals) == {f"unsafe-{n}" for n in range(6)}
    assert set(first.openings) == set()  # its help is a single token, the end of the turn


def test_a_run_that_was_stopped_while_it_read_asks_only_the_other_prompts(tmp_path: Path) -> None:
    model, whole = Model(), Model()
    told: list[tuple[int, int]] = []

    def stop(what: str, done: int, total: int) -> None:
        del what
        told.append((done, total))
        if done == 4:
            raise Stopped("stopped")

    with closing(open_run(tmp_path / "whole", {"seed": 0}, "ask")) as run:
        run.begin()
        wanted = AskedOnce(whole, run).answers(POOL, 8, 16, silent)
        AskedOnce(whole, run).answers(POOL, 8, 16, fail)
    with closing(open_run(tmp_path / "r", {"seed": 0}, "ask")) as run:
        run.begin()
        with pytest.raises(Stopped):
            AskedOnce(model, run).answers(POOL, 8, 16, stop)
    assert model.asked == 4 * 8
    with closing(open_run(tmp_path / "r", {"seed": 0}, "resume")) as run:
        run.begin()
        assert AskedOnce(model, run).answers(POOL, 8, 16, silent) == wanted
        assert AskedOnce(model, run).answers(POOL, 4, 16, silent) != wanted
    assert model.asked == 12 * 8 + 12 * 4
    assert told == [(0, 12), (2, 12), (4, 12)]


def fail(what: str, done: int, total: int) -> None:
    """No pass over answers that are known is shown."""
    raise AssertionError((what, done, total))


@pytest.mark.parametrize(
    ("model", "error", "sentence"),
    [
        (Model(1.0, 1.0, 0.02), TrainingError, r"have one mode .* or use --method entropy"),
    ],
)
def test_entropies_without_a_valley_are_refused(
    tmp_path: Path, model: Model, error: type[Exception], sentence: str
) -> None:
    with closing(open_run(tmp_path / "r", {"seed": 0}, "ask")) as run:
        run.begin()
        with pytest.raises(error, match=sentence):
            read_instinct(run, AskedOnce(model, run), POOL, 8, 16, silent)
        assert not (run.path / "instinct.json").exists()


def test_a_pool_that_is_refused_or_answered_wholly_is_refused(tmp_path: Path) -> None:
    class Torn(Model):
        """Most answers to every prompt are in one mode."""

        def __init__(self, low: int) -> None:
            super().__init__()
            self.low = low

        def sample(
            self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
        ) -> list[Completion]:
            del step
            found = super().sample(prompts, group=group)
            return [
                Completion(
                    c.prompt_id, (1,), (2,), "x", (-0.1,),
                    (0.2 + n / 1e3 if n % group < self.low else 1.0 + n / 1e3,), "stop",
                )
                for n, c in enumerate(found)
            ]  # fmt: skip

    wanted = {2: r"refuses 0 of 12 prompts, yours and the pool's", 6: "answers 0 of 12 prompts"}
    for low, sentence in wanted.items():
        with closing(open_run(tmp_path / str(low), {"seed": 0}, "ask")) as run:
            run.begin()
            with pytest.raises(InputError, match=sentence):
                read_instinct(run, AskedOnce(Torn(low), run), POOL, 8, 96, silent)


def test_a_resumed_run_with_other_prompts_is_refused(tmp_path: Path) -> None:
    with closing(open_run(tmp_path / "r", {"seed": 0}, "ask")) as run:
        run.begin()
        once = AskedOnce(Model(), run)
        read_instinct(run, once, POOL, 8, 16, silent)
        with pytest.raises(ConfigError, match="the prompts of .* have changed since its instinct"):
            read_instinct(run, once, [*POOL[:-1], Prompt.user(POOL[-1].id, "x")], 8, 16, silent)


def test_few_prompts_near_the_border_are_a_warning() -> None:
    shares = {f"p{n}": float(n < 50) for n in range(100)}
    found = Instinct(cut=0.5, shares=shares, modes=(0.2, 1.0), dip=0.0)
    (said, warning) = instinct_notes(found)
    assert said == (
        "instinct: of 100 prompts the model refuses 50, answers 50, and 0 are undecided and left "
        "out; mean entropy 0.20 and 1.00 nats, cut at 0.50"
    )
    assert "only 0 prompts of the pool are near the border" in warning
    near = Instinct(cut=0.5, shares={**shares, "p99": 0.2, "p98": 0.3}, modes=(0.2, 1.0), dip=0.0)
    assert len(instinct_notes(near)) == 1


@pytest.mark.parametrize(("refused", "said"), [(19, True), (20, False)])
def test_few_refused_prompts_are_a_warning(refused, said):
    shares = {f"p{n}": float(n < refused) if n < 90 else 0.3 for n in range(100)}
    notes = instinct_notes(Instinct(cut=0.5, shares=shares, modes=(0.2, 1.0), dip=0.0))
    assert (notes[1:] == [
        "the model refuses only 19 prompts, which is few to learn from: give more --prompts that "
        "it refuses"
    ]) == said  # fmt: skip


@pytest.mark.parametrize(
    ("refused", "answered", "sentence"),
    [(1, 497, "refuses 1 of 498"), (200, 3, "answers 3 of 498")],
)
def test_a_pool_that_is_left_with_too_few_of_a_mode_is_refused(refused, answered, sentence):
    with pytest.raises(InputError, match=sentence):
        check_counts(refused, answered, 498)


def answer(prompt_id: str, text: str, token: int, entropy: float = 0.1) -> Completion:
    return Completion(prompt_id, (1,), (token, 2), text, (-0.1, -0.1), (entropy, entropy), "stop")


def test_answers_that_are_taken_for_refusals_and_are_none_are_shown() -> None:
    asked = [Prompt.user("bomb", "Make a bomb"), Prompt.user("sum", "What is 12 plus 9?")]
    refusals = [answer("bomb", "I can't help with that.", 5)] * 3
    help_ = [answer("bomb", "Sure, here is how.", 6, 1.0), answer("sum", "I think 21.", 5, 1.0)]
    sums = [answer("sum", "12 plus 9 is 21.", 7)] * 30
    (said,) = unlike_refusals([*refusals, *help_, *sums], asked, 0.5, [5, 7])
    assert said.startswith("answers such as '12 plus 9 is 21.' have the low entropy of refusals")
    assert unlike_refusals([*refusals, *help_], asked, 0.5, [5]) == []
