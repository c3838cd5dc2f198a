"""The reference model of the KL penalty: a frozen copy, or the policy with its adapter off."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sirl.models.chat import ChatModel
from sirl.models.forward import next_logprobs, score_logprobs
from sirl.types import Completion

__all__ = ["AdaptersOff", "FrozenCopy", "Reference"]


@dataclass(frozen=True)
class Reference(ABC):
    """Scores with the weights of the starting model."""

    chat: ChatModel

    @abstractmethod
    def weights(self) -> AbstractContextManager[Any]:
        """Context in which the model has the weights of the start."""

    def logprobs(self, completions: Sequence[Completion], token_budget: int) -> list[Tensor]:
        """Per completion: log-probabilities of its tokens."""
        with self.weights():
            return score_logprobs(self.chat, completions, token_budget)

    def next_logprobs(self, completions: Sequence[Completion], token_budget: int) -> list[Tensor]:
        """Per completion: log-probabilities of the vocabulary at its first token."""
        with self.weights():
            return next_logprobs(self.chat, completions, token_budget)


class FrozenCopy(Reference):
    """A frozen copy of the weights."""

    def weights(self) -> AbstractContextManager[Any]:
        """Context in which the model has the weights of the start."""
        return nullcontext()


class AdaptersOff(Reference):
    """The policy's weights with the trained adapter turned off."""

    def weights(self) -> AbstractContextManager[Any]:
        """Context in which the model has the weights of the start."""
        adapter_off: AbstractContextManager[Any] = self.chat.model.disable_adapter()
        return adapter_off
