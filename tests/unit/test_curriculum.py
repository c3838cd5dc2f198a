"""Which prompts a step asks, and how they are presented."""

from dataclasses import replace

from sirl.analysis.contamination import overlaps
from sirl.attacks.conversation import Opener
from sirl.attacks.static import Template
from sirl.instinct import Mode
from sirl.training.curriculum import Curriculum, watched
from sirl.training.frames import FRAMES
from sirl.types import Prompt

SHORT = Template("short", "Please: {request}")


def prompts(kind: str, count: int) -> list[Prompt]:
    return [Prompt.user(f"{kind}-{n}", f"{kind} number {n}") for n in range(count)]


def curriculum(refused: int = 12, answered: int = 20, most: int = 10**6) -> Curriculum:
    return Curriculum(
        refused=prompts("unsafe", refused),
        answered=prompts("harmless", answered),
        disguises=(SHORT,),
        fits=lambda prompt: len(prompt.request) <= most,
        batch=8,
        seed=3,
    )


def test_half_of_each_batch_is_refused_and_half_is_answered() -> None:
    for step in range(5):
        batch = curriculum().prompts(step)
        assert [p.id.split("-")[0] for p in batch] == ["unsafe"] * 4 + ["harmless"] * 4, step


def test_few_refused_prompts_leave_more_room_for_the_others() -> None:
    batch = curriculum(refused=2).prompts(0)
    assert [p.id.split("-")[0] for p in batch] == ["unsafe"] * 2 + ["harmless"] * 6


def test_a_step_presents_its_prompts_in_the_same_way_after_a_resume() -> None:
    whole = list(map(curriculum().prompts, range(6)))
    assert list(map(curriculum().prompts, range(4, 6))) == whole[4:]


def test_about_seven_in_ten_prompts_of_both_kinds_are_disguised() -> None:
    shown = [p for step in range(100) for p in curriculum().prompts(step)]
    for kind in ("unsafe", "harmless"):
        own = [p for p in shown if p.id.startswith(kind)]
        share = sum(p.request.startswith("Please: ") for p in own) / len(own)
        assert 0.62 < share < 0.78, kind


def test_a_disguise_that_leaves_no_room_for_an_answer_is_left_off() -> None:
    shown = [p for step in range(30) for p in curriculum(most=18).prompts(step)]
    assert all(p.request.split(" number ")[0] == p.id.split("-")[0] for p in shown)


def test_frames_of_training_hold_the_request_and_are_no_attack_of_an_evaluation() -> None:
    from sirl.attacks.conversation import Opener
    from sirl.registry.attacks import known_attacks

    behaviour = Prompt.user("id", "REQUEST")
    said = {f.name: [m.content for m in f.attempt(behaviour).messages] for f in FRAMES}
    assert len(said) == len(FRAMES) >= 20
    assert all("REQUEST" in texts[0] for texts in said.values())
    asked = [a for a in known_attacks().values() if isinstance(a, Template | Opener)]
    words = [
        [
            Prompt.user(
                d.name, "\n".join(m.content for m in d.attempt(Prompt.user("id", "")).messages)
            )
            for d in every
        ]
        for every in (FRAMES, asked)
    ]
    assert len(words[1]) > 15
    assert overlaps(*words) == []
    assert len({"\n".join(texts) for texts in said.values()}) == len(FRAMES)


def test_watched_prompts_and_their_disguises_are_not_trained_on() -> None:
    frames = tuple(Template(f"f{n}", f"{n}: {{request}}") for n in range(8))
    whole = Curriculum(
        prompts("unsafe", 12), prompts("harmless", 20), frames, lambda _: True, batch=8, seed=0
    )
    trained, watch = watched(whole)
    ids = [p.id for p in watch]
    assert ids == [f"unsafe-{n}" for n in (0, 4, 8)] + [f"harmless-{n}" for n in range(0, 20, 4)]
    assert not set(ids) & {p.id for p in (*trained.refused, *trained.answered)}
    assert [d.name for d in trained.disguises] == ["f1", "f2", "f3", "f5", "f6", "f7"]
    assert [p.request for p in watch[:5]] == [
        "0: unsafe number 0", "4: unsafe number 4", "0: unsafe number 8",
        "0: harmless number 0", "4: harmless number 4",
    ]  # fmt: skip


def test_prompts_without_a_grade_or_with_the_other_are_not_watched_but_trained_on() -> None:
    whole = Curriculum(
        prompts("unsafe", 12), prompts("harmless", 20), (), lambda _: True, batch=8, seed=0
    )

    def graded(id: str) -> Mode | None:
        kind, _, n = id.partition("-")
        return None if int(n) % 2 == 0 else "refuse" if kind == "unsafe" or n == "9" else "comply"

    trained, watch = watched(whole, graded)
    assert [p.id for p in watch] == [
        "unsafe-1", "unsafe-9", "harmless-1", "harmless-11", "harmless-17",
    ]  # fmt: skip
    assert len(trained.refused) + len(trained.answered) + len(watch) == 32


def test_watched_answers_are_not_begun_by_a_disguise() -> None:
    own = replace(curriculum(), disguises=(Opener("opener", "Sure:"), SHORT, SHORT))
    trained, watch = watched(own)
    assert [d.name for d in trained.disguises] == ["opener"]
    assert {p.messages[-1].role for p in watch} == {"user"}


def test_a_share_of_disguised_prompts_is_begun_by_an_opener_of_either_kind() -> None:
    own = replace(curriculum(), disguises=(SHORT, Opener("opener", "Sure:")), begun_share=0.5)
    shown = [p for step in range(100) for p in own.prompts(step)]
    both = [p for p in shown if p.request.startswith("Please: ") and p.is_begun]
    one = [p for p in shown if p.request.startswith("Please: ") and not p.is_begun]
    assert 0.4 < len(both) / len(both + one) < 0.6
    assert {p.messages[-1].content for p in both} == {"Sure:"}
    assert {p.id.split("-")[0] for p in both} == {"unsafe", "harmless"}


def test_no_answer_is_begun_without_an_opener() -> None:
    own = replace(curriculum(), begun_share=1.0)
    assert not any(p.is_begun for step in range(10) for p in own.prompts(step))


def test_a_share_of_each_batch_is_refused() -> None:
    whole = replace(curriculum(), refused_share=0.4)
    assert [p.id.split("-")[0] for p in whole.prompts(0)] == ["unsafe"] * 3 + ["harmless"] * 5
