"""Rank-assisted prefill: an answer begun with unlikely words of the target (arXiv 2512.05518).

A hardened model puts nearly all of its probability on refusing, even after a compliant prefill, but
words of help often remain among the likeliest few. The attacker begins the answer and continues it
with one of the twenty likeliest tokens that does not begin a refusal and leads towards a compliant
answer, where sampling would refuse.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sirl.attacks.objectives import goal
from sirl.models.chat import ChatModel
from sirl.models.forward import next_logprobs
from sirl.roles import Access, Tries
from sirl.types import Attempt, Budget, Completion, Message, Need, Prompt

__all__ = ["ATTACKS", "RankAssisted"]

LEAST = 1e-9
"""Least probability that is told from 0."""


@dataclass(frozen=True)
class RankAssisted:
    """Begins the answer token by token, each of the target's likeliest and none a refusal's."""

    name: str
    top: int = 20
    """Tokens to choose from at each position."""
    depths: tuple[int, ...] = (4, 8, 16)
    """Positions after which the begun answer is tried."""
    family: str = "prefill"
    needs: frozenset[Need] = frozenset({"opener", "gradients"})

    @property
    def budget(self) -> Budget:
        """Calls: one per position, one per candidate token there, and the attempts."""
        return Budget(queries=1 + self.depths[-1] * (1 + self.top) + len(self.depths))

    def tries(self, behaviour: Prompt, access: Access) -> Tries:
        """Yield the begun answer at each depth."""
        chat: ChatModel = access.target_model
        wanted = goal(chat, behaviour, access.opener(behaviour), 0)
        refusals = {*wanted.refusals.tolist(), *chat.end_ids, *chat.tokenizer.all_special_ids}
        target = wanted.opener.tolist()
        answer, goes_on = target[:1], access.spend(1)
        for depth in range(1, self.depths[-1] + 1):
            token, looks = self.chosen(chat, behaviour, answer, target, refusals)
            goes_on &= access.spend(looks)
            if token is None:  # all of the likeliest tokens begin refusals
                if depth - 1 not in self.depths:
                    yield [Attempt(behaviour, self.name, begun(chat, behaviour, answer))]
                return
            answer = [*answer, token]
            if depth in self.depths or not goes_on:
                yield [Attempt(behaviour, self.name, begun(chat, behaviour, answer))]
            if not goes_on:
                return

    def chosen(
        self,
        chat: ChatModel,
        behaviour: Prompt,
        answer: list[int],
        target: list[int],
        refusals: set[int],
    ) -> tuple[int | None, int]:
        """The next token of the answer, None if all begin refusals; and the number of calls.

        The next token of the target prefix if it is among the likeliest; otherwise the likely
        token after which the target is least likely to refuse.
        """
        (here,) = looked(chat, behaviour, [answer])
        best = here.topk(min(self.top, len(here)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        likely = {token: value for token, value in pairs if token not in refusals}
        if answer == target[: len(answer)] and len(answer) < len(target):
            following = target[len(answer)]
            if following in likely:
                return following, 1
        if not likely:
            return None, 1
        behind = looked(chat, behaviour, [[*answer, token] for token in likely])
        ids = sorted(refusals)
        goes_on = [math.log(max(LEAST, 1 - float(row[ids].exp().sum()))) for row in behind]
        scores = dict(zip(likely, goes_on, strict=True))
        token = max(likely, key=lambda token: (likely[token] + scores[token], -token))
        return token, 1 + len(likely)


def looked(chat: ChatModel, behaviour: Prompt, answers: Sequence[list[int]]) -> list[Tensor]:
    """Log-probabilities (vocab) of the next token after each begun answer."""
    prompts = [
        Completion("", chat.render(begun(chat, behaviour, answer)), (), "", (), (), "stop")
        for answer in answers
    ]
    return next_logprobs(chat, prompts)


def begun(chat: ChatModel, behaviour: Prompt, answer: Sequence[int]) -> tuple[Message, ...]:
    """The request and the begun answer."""
    return (*behaviour.messages, Message("assistant", chat.decode(answer)))


ATTACKS = (RankAssisted("rank_prefill"),)
