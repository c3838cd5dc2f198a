"""What a processor cannot show: the same numbers on a card, and that no draw waits for it."""

import copy
from dataclasses import replace

import pytest
import torch

from sirl.models import head
from sirl.models.forward import score
from sirl.models.head import Predicted, loss_of, numbers_of
from sirl.models.trial import adopt
from sirl.policy import group_advantages
from sirl.rewards import negative_entropy
from sirl.rollouts.local import BatchRow, SampleBuffer
from sirl.rollouts.native import NativeEngine
from sirl.training.grading import examples_of
from sirl.training.reference import FrozenCopy
from sirl.training.update import Objective, PolicyLearner, learning_rates
from sirl.types import Prompt, Sampling

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

PROMPTS = [Prompt.user(str(i), t) for i, t in enumerate(["Hello!", "Add 2 and 3.", "Sing to me."])]


def on(device, chat):
    return replace(chat, model=copy.deepcopy(chat.model).to(device))


def test_capture_and_rescoring_on_the_card_agree_with_the_processor(family):
    card, processor = on(DEVICE, family), on("cpu", family)
    adopt(card)
    completions = NativeEngine(card, seed=1, new_tokens=24).sample(PROMPTS, group=4)
    there, here = score(card, completions), score(processor, completions)
    for completion, a, b in zip(completions, there, here, strict=True):
        captured = torch.tensor(completion.entropies)
        assert torch.allclose(captured, b.entropies, atol=1e-3)
        assert torch.allclose(a.entropies.cpu(), b.entropies, atol=1e-3)
        assert torch.allclose(a.logprobs.cpu(), b.logprobs, atol=1e-3)


def test_samples_do_not_depend_on_the_batch(embedded):
    card = on(DEVICE, embedded)
    whole = NativeEngine(card, seed=3, new_tokens=40).sample(PROMPTS, group=4)
    small = NativeEngine(card, seed=3, new_tokens=40, batch_size=1).sample(PROMPTS, group=4)
    assert [c.token_ids for c in whole] == [c.token_ids for c in small]


def test_an_update_on_the_card_is_the_update_on_the_processor(embedded):
    card, processor = on(DEVICE, embedded), on("cpu", embedded)
    completions = NativeEngine(processor, seed=0, new_tokens=30).sample(PROMPTS, group=6)
    rewards = torch.tensor([negative_entropy(c) for c in completions], dtype=torch.float64)
    for chat in (processor, card):
        frozen = FrozenCopy(replace(chat, model=copy.deepcopy(chat.model)))
        learner = PolicyLearner(chat, frozen, Objective(), learning_rates(1e-4, "constant", 9))
        learner.update(examples_of(completions, group_advantages(rewards, 6)), step=0)
    pairs = zip(processor.model.parameters(), card.model.parameters(), strict=True)
    # AdamW divides a gradient by its own size, so that a rounding error of a tiny gradient moves a
    # weight by up to the learning rate; 2.2e-5 was seen on an H100.
    assert max((a - b.cpu()).abs().max().item() for a, b in pairs) < 5e-5


def test_a_head_of_16_bits_is_multiplied_as_it_is_and_stays_exact():
    torch.manual_seed(0)
    states = torch.randn(300, 128, device=DEVICE).bfloat16().requires_grad_()
    weight = torch.randn(5000, 128, device=DEVICE).bfloat16().requires_grad_()
    given = Predicted(torch.randint(5000, (300,), device=DEVICE), states, weight)
    assert given.factor.matrix.dtype == torch.bfloat16
    assert head.adds_up_wide(torch.device(DEVICE), torch.bfloat16)
    wide, matrix = (x.detach().double().requires_grad_() for x in (states, weight))
    logprobs = (wide @ matrix.T).log_softmax(dim=-1)
    chosen = logprobs.gather(1, given.token_ids.unsqueeze(1)).squeeze(1)
    found = numbers_of(given)
    assert torch.allclose(found.logprobs.double(), chosen, rtol=1e-5)
    entropies = torch.special.entr(logprobs.exp()).sum(dim=-1)
    assert torch.allclose(found.entropies.double(), entropies, rtol=1e-5, atol=1e-5)
    loss_of(given, lambda lp, _: lp.sum())[0].backward()
    chosen.sum().backward()
    for ours, theirs in ((states, wide), (weight, matrix)):
        largest = theirs.grad.abs().max()
        assert torch.allclose(ours.grad.double(), theirs.grad, rtol=8e-3, atol=4e-3 * largest)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_drawing_does_not_wait_for_the_card(embedded):
    card = on(DEVICE, embedded)
    rows = [BatchRow(PROMPTS[0], (1,), s, s) for s in range(16)]
    draft = SampleBuffer(rows, card, 8, Sampling())
    logits = torch.randn(16, 2048, device=DEVICE)
    logits[:4, min(card.end_ids)] = 100.0
    alive = torch.arange(16, device=DEVICE)
    draft.draw(logits, 0, alive)
    torch.cuda.set_sync_debug_mode("error")
    try:
        draft.draw(logits, 1, alive)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert draft.lengths.tolist() == [1] * 4 + [2] * 12
