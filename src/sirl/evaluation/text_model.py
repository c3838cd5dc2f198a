"""A target that is asked for text, as attacker or judge: in this process, or a function."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sirl.evaluation.target import Target, digest
from sirl.types import Message, Prompt, Sampling

__all__ = ["LocalTextModel"]


@dataclass(frozen=True)
class LocalTextModel:
    """Satisfies `sirl.judges.quoting.TextModel`."""

    target: Target
    sampling: Sampling

    @property
    def identity(self) -> str:
        """Weights, longest answer, seed and sampling."""
        s = self.sampling
        return digest(self.target.identity, s.temperature, s.top_p, s.top_k)

    def ask(self, conversations: Sequence[tuple[Message, ...]]) -> list[str | None]:
        """What it says, behind its thoughts, after each conversation.

        None where there is no answer, as for a conversation that its context cannot hold. The same
        conversation asked several times in a call is answered several ways.
        """
        asked: Counter[str] = Counter()
        prompts = []
        for messages in conversations:
            name = digest([(m.role, m.content) for m in messages])
            prompts.append(Prompt(f"ask/{name}/{asked[name]}", messages))
            asked[name] += 1
        fitting = [p for p in prompts if not self.target.read(p).fault]
        completions = self.target.sample(fitting, self.sampling) if fitting else []
        said = {c.prompt_id: c.text for c in completions if not c.fault}
        return [said.get(p.id) for p in prompts]
