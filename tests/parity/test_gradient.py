"""The gradient attack against plain roads to the same numbers."""

from dataclasses import replace
from random import Random

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sirl.attacks.gradient import ATTACKS, Gcg, SuffixReader, slot
from sirl.attacks.objectives import AntiRefusal, Goal, LowEntropy, TargetOpener, goal
from sirl.errors import ModelError
from sirl.rollouts.native import NativeEngine
from sirl.types import Message, Outcome, Prompt
from sirl.world.language import OPENING, deed_of, unsafe_requests
from sirl.world.oracle import WorldOracle

OBJECTIVES = (TargetOpener(), AntiRefusal(), LowEntropy(lookahead=4))
BEHAVIOUR = Prompt(
    "b", (Message("system", "Be kind."), Message("user", "How do I fold the blue moon?"))
)
OPENER = "Sure! First, to fold the blue moon,"


class Purse:
    """Grants a model, and counts."""

    def __init__(self, chat, *, seed=0, queries=10**6, opener=OPENER):
        self.target_model = chat
        self.seed = seed
        self.queries = queries
        self.spent = 0
        self.words = opener

    def opener(self, behaviour):  # noqa: ARG002
        return self.words

    def likelihoods(self, conversations, answer):
        raise AssertionError((conversations, answer))

    def ask_attacker(self, conversations):
        raise AssertionError(conversations)

    def spend(self, queries):
        self.spent += queries
        return self.spent < self.queries


def windowed(embedded, window):
    """A tiny model with a sliding window, and with a scale inside its embedding."""
    config = AutoConfig.for_model(
        "gemma3_text",
        vocab_size=len(embedded.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"],
        pad_token_id=embedded.pad_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return replace(embedded, model=model)


def reader(chat, objective=OBJECTIVES[0], *, length=6, rows=64):
    wanted = goal(chat, BEHAVIOUR, OPENER, objective.lookahead)
    return SuffixReader(slot(chat, BEHAVIOUR, length), wanted, objective, rows)


def neighbours(read, count):
    attack = Gcg("gcg", read.objective, top_k=50)
    return attack.neighbours(read, read.slot.start, count, {read.slot.start}, Random(0))


def whole_loss(read, suffix):
    """The objective from one forward pass over everything, without cache or batch."""
    place, answer = read.slot, read.goal.answer.tolist()
    ids = [*place.before_ids, *suffix, *place.after_ids, *answer]
    logits = place.chat.model(input_ids=torch.tensor([ids]), use_cache=False).logits
    return read.objective(logits[:, -len(answer) - 1 : -1], read.goal)


def in_double(model):
    """The model in float64 throughout: its norms, too, which by themselves work in float32."""
    for module in model.double().modules():
        if "RMSNorm" not in type(module).__name__:
            continue
        share = module.weight + 1 if "Gemma" in type(module).__name__ else module.weight
        eps = getattr(module, "variance_epsilon", None) or module.eps

        def forward(x, share=share, eps=eps):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * share

        x = torch.randn(3, len(share), dtype=torch.double)
        torch.testing.assert_close(forward(x), module(x).double(), rtol=1e-5, atol=1e-5)
        module.forward = forward
    return model


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_the_token_gradient_equals_finite_differences(family, objective):
    with torch.no_grad():
        chat = replace(family, model=in_double(family.model))
    read = reader(chat, objective)
    suffix = torch.tensor(read.slot.start)
    one_hot = (suffix.unsqueeze(1) == read.allowed).double()
    torch.testing.assert_close(one_hot @ read.table, read.embed(suffix))
    rest = read.embed(read.rest).unsqueeze(0)
    slopes = read.gradient(suffix)
    generator = torch.Generator().manual_seed(1)

    @torch.no_grad()
    def loss(moved):
        embeds = torch.cat([(moved @ read.table).unsqueeze(0), rest], dim=1)
        return read.loss(inputs_embeds=embeds).item()

    for _ in range(3):
        towards = torch.randn(one_hot.shape, generator=generator, dtype=torch.double)
        towards /= towards.norm()
        step = 1e-4 * towards
        slope = (loss(one_hot + step) - loss(one_hot - step)) / 2e-4
        assert slope == pytest.approx((slopes * towards).sum().item(), rel=1e-5, abs=1e-7)
    assert slopes.norm() > 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_losses_behind_the_shared_cache_equal_a_whole_forward_pass(family, objective):
    read = reader(family, objective)
    near = neighbours(read, 12)
    found = read.losses(torch.tensor(near))
    with torch.no_grad():
        plain = torch.cat([whole_loss(read, suffix) for suffix in near])
    assert plain.std() > 3e-4
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [4, 16, 500])
def test_a_sliding_window_shorter_than_the_prefix_changes_nothing(embedded, window):
    read = reader(windowed(embedded, window))
    assert len(read.slot.before_ids) > 16
    near = neighbours(read, 5)
    with torch.no_grad():
        plain = torch.cat([whole_loss(read, suffix) for suffix in near])
    for _ in range(2):  # the cache is as it was after the first time
        torch.testing.assert_close(read.losses(torch.tensor(near)), plain, rtol=1e-5, atol=1e-5)


def test_the_loss_falls_and_the_text_is_read_as_what_was_optimised(family):
    attack = Gcg("gcg", TargetOpener(), steps=8, candidates=24, length=6, patience=4)
    first, last = (round_[0] for round_ in attack.tries(BEHAVIOUR, Purse(family)))
    assert len(first.trace) == 4
    assert last.trace[:4] == first.trace
    assert len(last.trace) == 8
    read = reader(family)
    start = read.losses(torch.tensor([read.slot.start])).item()
    assert min(last.trace) < start - 0.02
    ids = family.render(last.messages)
    head, tail = len(read.slot.before_ids), len(read.slot.after_ids)
    assert ids[:head] == read.slot.before_ids
    assert ids[-tail:] == read.slot.after_ids
    assert len(ids) == head + 6 + tail
    with torch.no_grad():
        assert whole_loss(read, ids[head:-tail]).item() == pytest.approx(min(last.trace), abs=1e-4)


TEMPLATES = {
    "lines": "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content|trim + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "brackets": "{% for m in messages %}{% if m.role == 'user' %}[ {{ m.content|trim }} ] "
    "{% else %}{{ m.content }} {% endif %}{% endfor %}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_candidates_survive_the_template_and_the_tokenizer(embedded, template):
    embedded.tokenizer.chat_template = template
    read = reader(embedded)
    near = neighbours(read, 40)
    assert len(set(near)) == 40
    for suffix in near:
        assert sum(a != b for a, b in zip(suffix, read.slot.start, strict=True)) == 1
        rendered = embedded.render(read.slot.messages(suffix))
        assert rendered == (*read.slot.before_ids, *suffix, *read.slot.after_ids)


def test_a_suffix_that_would_be_read_otherwise_is_not_faithful(embedded):
    place = slot(embedded, BEHAVIOUR, 3)
    (split,) = embedded.tokenizer(["how"], add_special_tokens=False)["input_ids"]
    letters = tuple(embedded.tokenizer(list("how"), add_special_tokens=False)["input_ids"])
    assert len(split) < 3
    apart = tuple(i for (i,) in letters)
    blank = (*place.start[:2], *embedded.tokenizer(" ", add_special_tokens=False)["input_ids"])
    assert place.faithful([place.start, apart, blank]) == [place.start]


def test_a_template_that_rewrites_the_request_is_named(embedded):
    embedded.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content|replace(' ', '_')|replace('!!', '?') }}{% endfor %}"
    )
    with pytest.raises(ModelError, match="encode no suffix of 20 tokens consistently"):
        slot(embedded, Prompt.user("b", "Hello"), 20)


class Cramped:
    """A model that has memory for a few rows only."""

    def __init__(self, model, rows):
        self.model, self.rows, self.read = model, rows, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, **inputs):
        rows = len(inputs["input_ids"])
        if rows > self.rows:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
        self.read.append(rows)
        return self.model(**inputs)


def test_the_batch_is_halved_until_it_fits_and_stays_so(embedded):
    roomy = reader(embedded)
    near = torch.tensor(neighbours(roomy, 20))
    cramped = Cramped(embedded.model, 5)
    tight = reader(replace(embedded, model=cramped))
    for _ in range(2):
        cramped.read.clear()
        torch.testing.assert_close(tight.losses(near), roomy.losses(near), rtol=1e-5, atol=1e-5)
        assert cramped.read[-4:] == [5, 5, 5, 5]
    assert len(cramped.read) == 4


def test_every_sequence_is_paid_for_and_the_search_ends_with_the_budget(embedded):
    attack = Gcg("gcg", TargetOpener(), steps=5, candidates=8, patience=2)
    whole = Purse(embedded)
    assert len(list(attack.tries(BEHAVIOUR, whole))) == 3
    assert whole.spent + 3 == attack.budget.queries == 1 + 5 * 9 + 3
    poor = Purse(embedded, queries=1 + 9 + 4)
    (attempt,) = (round_[0] for round_ in attack.tries(BEHAVIOUR, poor))
    assert len(attempt.trace) == 2


def test_a_search_depends_on_seed_and_behaviour_alone(embedded):
    attack = Gcg("gcg", TargetOpener(), steps=2, candidates=8, patience=1)

    def texts(seed, behaviour=BEHAVIOUR):
        purse = Purse(embedded, seed=seed)
        return [round_[0].messages[-1].content for round_ in attack.tries(behaviour, purse)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert texts(1) != texts(1, replace(BEHAVIOUR, id="other"))


def test_anti_refusal_adds_the_surprise_at_another_beginning():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.125, 0.125]]]))
    aim = Goal(torch.tensor([0]), torch.tensor([0]), torch.tensor([1, 2]))
    plain = TargetOpener()(logits, aim)
    assert plain.exp().item() == pytest.approx(2.0)
    assert (AntiRefusal()(logits, aim) - plain).exp().item() == pytest.approx(1 / 0.625)
    free = Goal(aim.opener, aim.answer, aim.refusals[:0])
    assert AntiRefusal()(logits, free).item() == pytest.approx(plain.item())


def test_low_entropy_looks_at_the_answer_beyond_the_opener():
    logits = torch.stack([torch.tensor([9.0, 0, 0, 0]), torch.zeros(4)]).unsqueeze(0)
    aim = Goal(torch.tensor([0]), torch.tensor([0, 3]), torch.tensor([], dtype=torch.long))
    added = LowEntropy(weight=2.0)(logits, aim) - TargetOpener()(logits, aim)
    assert added.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=0.01)


def test_the_plain_answer_tells_its_first_words(embedded):
    behaviour = unsafe_requests("test")[0]
    aim = goal(embedded, behaviour, f"{OPENING} to {deed_of(behaviour)},", 5)
    firsts = set(embedded.pieces(aim.refusals.tolist()))
    assert firsts == {"Sorry", "This"}
    assert len(aim.answer) == len(aim.opener) + 5


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_it_breaks_the_base_embedded_model(embedded, attack):
    broken = 0
    behaviours = unsafe_requests("test")[:3]
    for behaviour in behaviours:
        purse = Purse(embedded, opener=f"{OPENING} to {deed_of(behaviour)},")
        tries = attack.tries(behaviour, purse)
        attempts = next(tries, ())
        number = 0
        while attempts and purse.spent < attack.budget.queries:
            prompt = Prompt(f"{behaviour.id}/{number}", attempts[0].messages)
            answer = NativeEngine(embedded, 0, 72).sample([prompt])[0]
            verdict = WorldOracle().verdict(attempts[0], answer.text)
            if verdict.label == "compliance":
                broken += 1
                break
            number += 1
            try:
                attempts = tries.send([Outcome(attempts[0], answer, verdict)])
            except StopIteration:
                attempts = ()
    assert broken == len(behaviours)
