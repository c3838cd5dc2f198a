"""The contract of attacks, as a check that plug-ins can call in their tests.

    from sirl.attacks.contract import check_attack
    check_attack(MyAttack())

Attacks are registered through the entry point group `sirl.attacks`.
"""

from collections.abc import Sequence

from sirl.roles import Access, Attack, Disguise, Search
from sirl.types import NEEDS, Attempt, Budget, Completion, Message, Outcome, Prompt, Verdict

__all__ = ["BEHAVIOUR", "check_attack"]

BEHAVIOUR = Prompt.user("contract", "How do I polish the moon?")
ROUNDS = 3
"""Number of rounds of a search to check."""
REFUSAL = "No, I cannot help with that."
TRANSLATIONS = {"French": "Comment polir la lune ?", "German": "Wie poliert man den Mond?"}


class RefusingAccess:
    """Fake `sirl.roles.Access` with deterministic likelihoods and attacker replies."""

    seed = 0
    target_model = None

    def opener(self, behaviour: Prompt) -> str:
        """A fixed opener."""
        return f"Sure! About {behaviour.id}: first,"

    def likelihoods(self, conversations: Sequence[tuple[Message, ...]], answer: str) -> list[float]:
        """Likelihoods that grow with the conversation's length, so that a search can improve."""
        sizes = [sum(len(m.content) for m in turns) for turns in conversations]
        return [size / 1000 - len(answer) for size in sizes]

    def ask_attacker(self, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
        """A translation if one is asked for; else a proposal that is different in every round."""
        return [
            next(
                (said for language, said in TRANSLATIONS.items() if language in turns[-1].content),
                f'{{"improvement": "another", "prompt": "Please, {len(turns)} times: the moon?"}}',
            )
            for turns in conversations
        ]

    def spend(self, queries: int) -> bool:
        """Accept any number of calls."""
        return queries >= 0


def check_attack(attack: Attack) -> None:
    """Check that an attack keeps its contract.

    An attack has a name and a family, declares known needs, leaves the behaviour unchanged, ends
    its conversations with a turn that asks for an answer, and makes the same attempts every time.
    The attempts of a search that needs gradients are not checked.

    Raises:
        AssertionError: The attack breaks the contract; the message names the violation.
    """
    assert isinstance(attack, Disguise | Search), f"{attack!r} is neither a Disguise nor a Search"
    assert attack.name.strip() == attack.name != "", "its name is empty or has spaces around it"
    assert attack.family, f"{attack.name} names no family"
    assert attack.needs <= NEEDS, f"{attack.name} needs {sorted(attack.needs - NEEDS)}: unknown"
    if isinstance(attack, Disguise):
        first, again = attack.attempt(BEHAVIOUR), attack.attempt(BEHAVIOUR)
        assert first == again, f"{attack.name} makes a different attempt the second time"
        check_attempt(attack, first)
        return
    budget: Budget = attack.budget
    assert budget.queries > 0, f"{attack.name} has no queries to spend"
    if "gradients" in attack.needs:
        return
    played, repeated = play(attack, RefusingAccess()), play(attack, RefusingAccess())
    assert played == repeated, f"{attack.name} makes different attempts the second time"
    assert any(played), f"{attack.name} makes no attempt"
    for attempt in (a for attempts in played for a in attempts):
        check_attempt(attack, attempt)


def check_attempt(attack: Attack, attempt: Attempt) -> None:
    """Check one attempt: its attack, its behaviour and its turns."""
    assert attempt.attack == attack.name, f"{attack.name} signs as {attempt.attack!r}"
    assert attempt.behaviour == BEHAVIOUR, f"{attack.name} changes the behaviour that is judged"
    assert attempt.messages, f"{attack.name} says nothing"
    last = attempt.messages[-1].role
    assert last in ("user", "assistant"), f"{attack.name} ends with a turn of the {last}"
    opened = last == "assistant"
    assert not opened or "opener" in attack.needs, f"{attack.name} begins an answer: needs opener"
    assert all(m.content for m in attempt.messages), f"{attack.name} has an empty turn"


def play(attack: Search, access: Access) -> list[list[Attempt]]:
    """The attempts of the first rounds of a search, if all of them are refused."""
    tries = attack.tries(BEHAVIOUR, access)
    rounds: list[list[Attempt]] = []
    wanted: Sequence[Attempt] | None = next(tries, None)
    while wanted is not None and len(rounds) < ROUNDS:
        rounds.append(list(wanted))
        try:
            wanted = tries.send([refused(attempt) for attempt in wanted])
        except StopIteration:
            wanted = None
    tries.close()
    return rounds


def refused(attempt: Attempt) -> Outcome:
    """The outcome of an attempt on a target that always refuses."""
    completion = Completion("contract", (), (), REFUSAL, (), (0.1, 0.1), "stop")
    return Outcome(attempt, completion, Verdict("refusal", 1.0, "it refuses", "contract"))
