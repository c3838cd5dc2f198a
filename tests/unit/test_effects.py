import pytest

from sirl import registry
from sirl.config import EvaluateConfig, PlanConfig, ProbeConfig, TrainConfig
from sirl.errors import ConfigError

BASE = {"model": "embedded", "out": "r"}


@pytest.mark.parametrize(
    ("verb", "given", "sentence"),
    [
        (TrainConfig, {"lora_rank": 4},
         "lora_rank needs --lora: give that, or leave lora_rank out"),
        (PlanConfig, {"lora_rank": 4},
         "lora_rank needs --lora: give that, or leave lora_rank out"),
        (TrainConfig, {"depth": True, "method": "entropy"},
         "depth needs --method instinct: give that, or leave depth out"),
        (TrainConfig, {"suffixes": True},
         "suffixes needs --depth: give that, or leave suffixes out"),
        (TrainConfig, {"held_out": 0, "attacks": "full"},
         "attacks needs an evaluation, which --held-out or --behaviours provide: give that, or "
         "leave attacks out"),
        (TrainConfig, {"reward": "random"},
         "reward needs --method entropy: give that, or leave reward out"),
        (TrainConfig, {"disguised": True},
         "disguised needs --method entropy: give that, or leave disguised out"),
        (TrainConfig, {"method": "entropy", "pool": "none"},
         "pool needs --method instinct or --sentinel: give that, or leave pool out"),
        (EvaluateConfig, {"concurrency": 2},
         "concurrency needs an endpoint as --model, --judge or --attacker: give that, or leave "
         "concurrency out"),
        (EvaluateConfig, {"judge": "strongreject:https://h/v1#m", "supports_opener": True},
         "supports_opener needs an endpoint as --model: give that, or leave supports_opener out"),
        (EvaluateConfig, {"model": "https://h/v1#m", "judge_key_from_env": "K"},
         "judge_key_from_env needs an endpoint as --judge: give that, or leave judge_key_from_env "
         "out"),
        (EvaluateConfig, {"model": "https://h/v1#m", "dtype": "bfloat16"},
         "dtype needs a model in this process: give that, or leave dtype out"),
        (ProbeConfig, {"benchmarks": "numeric:f.jsonl"},
         "benchmarks needs sirl evaluate, as a probe has no tasks: give that, or leave "
         "benchmarks out"),
        (EvaluateConfig, {"benchmarks": "numeric:f.jsonl", "run_code": True},
         "run_code needs humaneval:FILE or mbpp:FILE among --benchmarks: give that, or leave "
         "run_code out"),
        (EvaluateConfig, {"capability_tokens": 9},
         "capability_tokens needs --benchmarks: give that, or leave capability_tokens out"),
    ],
)  # fmt: skip
def test_what_would_change_nothing_is_refused(verb, given, sentence):
    with pytest.raises(ConfigError) as caught:
        registry.check_effects(verb(**{**BASE, **given}))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        (TrainConfig, {"lora_rank": 4, "lora": True}),
        (TrainConfig, {"lora_rank": 16}),
        (TrainConfig, {"depth": True}),
        (TrainConfig, {"method": "entropy", "reward": "random"}),
        (TrainConfig, {"pool": "none"}),
        (EvaluateConfig, {"judge": "strongreject:https://h/v1#m", "tries": 2, "dtype": "bfloat16"}),
        (EvaluateConfig, {"model": "http://h/v1#m", "key_from_env": "K", "timeout": 3}),
        (
            EvaluateConfig,
            {"model": "python:m:f", "judge": "strongreject:folder", "sampling_batch_size": 8},
        ),
        (EvaluateConfig, {"max_queries": 4}),
    ],
)
def test_what_has_an_effect_or_is_the_default_passes(verb, given):
    registry.check_effects(verb(**{**BASE, **given}))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"max_queries": 4},
            "--max-queries bounds searches, and --attacks direct,story holds none",
        ),
        ({"max_tokens": 200}, "name a search such as best_of_n; --new-tokens bounds the length of"),
    ],
)
def test_a_budget_of_searches_needs_a_search(given, sentence):
    config = EvaluateConfig(model="embedded", out="o", attacks="direct,story", **given)
    with pytest.raises(ConfigError, match=sentence):
        registry.evaluation_setup(config)
    with_search = config.model_copy(update={"attacks": "direct,best_of_n"})
    assert len(registry.evaluation_setup(with_search).suite.attacks) == 2
