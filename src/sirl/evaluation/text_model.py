"""A local model or a function as attacker or judge model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sirl.evaluation.target import Target, digest
from sirl.types import Message, Prompt, Sampling

__all__ = ["LocalTextModel"]


@dataclass(frozen=True)
class LocalTextModel:
    """A target as text model; satisfies `sirl.judges.quoting.TextModel`."""

    target: Target
    sampling: Sampling

    @property
    def identity(self) -> str:
        """Hash of the target's identity and the sampling settings."""
        s = self.sampling
        return digest(self.target.identity, s.temperature, s.top_p, s.top_k)

    def ask(self, conversations: Sequence[tuple[Message, ...]]) -> list[str | None]:
        """The reply to each conversation, without thoughts.

        None if there is no answer, for example because the conversation exceeds the context. A
        conversation that occurs several times in one call gets independent samples.
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
