"""A local model or a function as attacker or judge model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sirl.evaluation.target import Target, digest
from sirl.types import Message, Prompt, Reply, Sampling

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

    def ask(self, conversations: Sequence[tuple[Message, ...]]) -> list[Reply]:
        """The reply to each conversation, without thoughts.

        A conversation that occurs several times in one call gets independent samples.
        """
        asked: Counter[str] = Counter()
        prompts = []
        for messages in conversations:
            name = digest([(m.role, m.content) for m in messages])
            prompts.append(Prompt(f"ask/{name}/{asked[name]}", messages))
            asked[name] += 1
        faults = {p.id: self.target.read(p).fault for p in prompts}
        fitting = [p for p in prompts if not faults[p.id]]
        completions = self.target.sample(fitting, self.sampling) if fitting else []
        said = {c.prompt_id: Reply(c.text, c.finish == "length", c.fault) for c in completions}
        return [said.get(p.id) or Reply("", fault=faults[p.id]) for p in prompts]
