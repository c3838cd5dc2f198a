"""The reference model of the KL penalty: a frozen copy, or the policy with its adapter off."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sirl.models.chat import ChatModel
from sirl.models.forward import score_logprobs
from sirl.types import Completion

__all__ = ["AdaptersOff", "FrozenCopy", "Reference"]


@dataclass(frozen=True)
class FrozenCopy:
    """A frozen copy of the weights."""

    chat: ChatModel

    def logprobs(self, completions: Sequence[Completion], token_budget: int) -> list[Tensor]:
        """Per completion: log-probabilities of its tokens under the starting model."""
        return score_logprobs(self.chat, completions, token_budget=token_budget)


@dataclass(frozen=True)
class AdaptersOff:
    """The policy's weights with the trained adapter turned off."""

    chat: ChatModel

    def logprobs(self, completions: Sequence[Completion], token_budget: int) -> list[Tensor]:
        """Per completion: log-probabilities of its tokens under the starting model."""
        with self.chat.model.disable_adapter():
            return score_logprobs(self.chat, completions, token_budget=token_budget)


Reference = FrozenCopy | AdaptersOff
