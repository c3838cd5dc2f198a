"""The contract of engines, as a check that plug-ins can call in their tests.

    from sirl.rollouts.contract import check_engine
    check_engine(MyEngine(chat, 0, 16, Sampling(), 8))

Engines are registered through the entry point group `sirl.engines`.
"""

from sirl.roles import Engine
from sirl.types import Prompt

__all__ = ["check_engine"]

PROMPTS = (Prompt.user("contract-1", "Hello!"), Prompt.user("contract-2", "Add 2 and 3."))
GROUP = 2


def check_engine(engine: Engine) -> None:
    """Check that an engine fulfils its contract.

    It must sample a group per prompt in the order of the prompts, each token with log-probability
    and entropy, and give the same completions every time and in any batch.

    Raises:
        AssertionError: It does not; the sentence says what.
    """
    assert isinstance(engine, Engine), f"{engine!r} has no method sample"
    found = engine.sample(PROMPTS, group=GROUP, step=1)
    ids = [prompt.id for prompt in PROMPTS for _ in range(GROUP)]
    assert [c.prompt_id for c in found] == ids, "completions are not grouped by prompt, in order"
    samples = [c.sample for c in found]
    assert samples == [*range(GROUP)] * len(PROMPTS), f"samples of a group are numbered {samples}"
    for c in found:
        counts = {len(c.token_ids), len(c.logprobs), len(c.entropies)}
        assert len(counts) == 1, f"a completion has token ids, log-probs and entropies of {counts}"
        assert all(e >= 0 for e in c.entropies), "an entropy is negative"
        assert all(p <= 0 for p in c.logprobs), "a log-probability is positive"
    assert engine.sample(PROMPTS, group=GROUP, step=1) == found, "other completions, sampled again"
    alone = [c for prompt in PROMPTS for c in engine.sample([prompt], group=GROUP, step=1)]
    assert [c.token_ids for c in alone] == [c.token_ids for c in found], (
        "completions depend on the batch"
    )
