"""Engines and benchmarks from outside: a file of the user's, or an installed package."""

import sys
from importlib.metadata import EntryPoint

import pytest

from sirl.benchmarks.contract import check_benchmark
from sirl.config import EvaluateConfig, TrainConfig
from sirl.errors import ConfigError
from sirl.registry.attacks import attacks_named, plugged
from sirl.registry.benchmarks import benchmark_files, benchmarks_of
from sirl.registry.collaborators import reward_named
from sirl.registry.judges import judge_named
from sirl.registry.sampling import local_engine, require_sampler
from sirl.rollouts.contract import check_engine
from sirl.rollouts.native import NativeEngine
from sirl.types import Prompt, Sampling

pytestmark = pytest.mark.usefixtures("package")
MODULE = """
from sirl.rollouts.native import NativeEngine as Engine
from sirl.types import Budget, Prompt

class Letters:
    name = "letters"
    def prompts(self):
        return [Prompt.user("tea", "How many letters are in tea?")]
    def correct(self, prompt, answer):
        return "3" in answer

class Empty(Letters):
    def prompts(self):
        return []

class Nameless(Letters):
    name = " "

class Texts(Letters):
    def prompts(self):
        return ["tea", "geese"]

class Lazy(Letters):
    def prompts(self):
        return (task for task in super().prompts())

class Doubled(Letters):
    def prompts(self):
        return [Prompt.user("tea", "How many?"), Prompt.user("tea", "How much?")]

class Silent(Letters):
    def prompts(self):
        return [Prompt("tea", ())]

class Turns(Letters):
    def prompts(self):
        (task,) = super().prompts()
        vars(task).update(messages=list(task.messages))
        return [task]

def of_a_file(path):
    return Letters()

def nothing(*given):
    return None

letters = Letters()

class Poem:
    name, family, needs = "poem", "fiction", frozenset()
    def attempt(self, behaviour):
        return None

class Sized(Poem):
    def __init__(self, size):
        self.name = "sized"

class Unnamed(Poem):
    name = ""

poem, sized, unnamed = Poem(), Sized(3), Unnamed()

class Kind:
    name, question = "kind", "refusal"
    def verdict(self, attempt, answer):
        return None

class Curious(Kind):
    question = "is it?"

class Several(Kind):
    question = ["refusal", "harm"]

class Mute(Kind):
    question = None  # as inherited from sirl.roles.Judge

class Anonymous(Kind):
    name = ""

class Twice:
    def __call__(self, completion):
        return 2.0

def two(completion, other):
    return 2.0

class Hunt:
    name, family, needs, budget = "hunt", "fiction", frozenset(), Budget(3)
    def tries(self, behaviour, access):
        yield []
        raise LookupError(behaviour)

class Endless(Hunt):
    budget = 3

class Broke(Hunt):
    budget = Budget(0)

class Careless(Poem):
    needs = None  # as inherited from sirl.roles.Disguise

class Listed(Poem):
    needs = ["opener"]

class Greedy(Poem):
    needs = {"opener", "money", "weights"}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """An installed package with an engine and a benchmark."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "outside_of_sirl.py").write_text(MODULE)
    about = folder / "outside_of_sirl-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside_of_sirl\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[sirl.engines]\nouter = outside_of_sirl:Engine\n"
        "[sirl.benchmarks]\nletters = outside_of_sirl:Letters\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("outside_of_sirl", None)


def evaluation(**settings):
    return EvaluateConfig(model="embedded", out="r", **settings)


@pytest.mark.parametrize("name", ["outer", "python:outside_of_sirl:Engine"])
def test_an_engine_of_another_package_samples_as_its_class_does(embedded, name):
    config = evaluation(sampler=name, new_tokens=8, seed=3, sampling_batch_size=2)
    require_sampler(config)
    found = local_engine(config, embedded, Sampling(0.5))
    assert found == NativeEngine(embedded, 3, 8, Sampling(0.5), 2)


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        ("python:outside_of_sirl:nothing",
         "the engine python:outside_of_sirl:nothing is of type NoneType and lacks methods of "
         "sirl.roles.Engine: inherit from it"),
        ("python:outside_of_sirl:of_a_file",
         "the engine python:outside_of_sirl:of_a_file is a function that is called with "
         "(chat, seed, new_tokens, sampling, batch_size) and does not take them: too many "
         "positional arguments (TypeError); change its arguments, or name an object"),
    ],
)  # fmt: skip
def test_an_engine_that_keeps_no_contract_is_named(embedded, sampler, sentence):
    with pytest.raises(ConfigError) as caught:
        local_engine(evaluation(sampler=sampler), embedded, Sampling())
    assert str(caught.value) == sentence


def test_a_sampler_that_there_is_not_is_named_before_anything_is_loaded():
    with pytest.raises(ConfigError, match=r"there is no engine 'outr'. Did you mean 'outer'\?"):
        require_sampler(evaluation(sampler="outr"))
    with pytest.raises(ConfigError, match="there is no engine 'vllm'"):  # it serves training alone
        require_sampler(evaluation(sampler="vllm"))
    require_sampler(TrainConfig(model="embedded", out="r", sampler="outer"))


@pytest.mark.parametrize(
    "name", ["letters", "python:outside_of_sirl:Letters", "python:outside_of_sirl:letters"]
)
def test_a_benchmark_of_another_package_is_asked_beside_those_of_files(package, name):
    sums = package / "sums.jsonl"
    sums.write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    config = evaluation(benchmarks=f"{name},numeric:{sums}")
    (letters, numeric), rejected = benchmarks_of(config)
    assert (letters.name, numeric.name, rejected) == ("letters", "sums", ())
    assert letters.correct(letters.prompts()[0], "It has 3.")
    assert benchmark_files(config) == [str(sums)]


@pytest.mark.parametrize(
    ("benchmark", "sentence"),
    [
        ("python:outside_of_sirl:Empty",
         "the benchmark python:outside_of_sirl:Empty has no tasks: let prompts() return some"),
        ("python:outside_of_sirl:Nameless",
         "the benchmark python:outside_of_sirl:Nameless has no name: give it one, which tables "
         "show"),
        ("python:outside_of_sirl:nothing",
         "the benchmark python:outside_of_sirl:nothing is of type NoneType and lacks methods of "
         "sirl.roles.Benchmark: inherit from it"),
        ("python:outside_of_sirl:of_a_file",
         "the benchmark python:outside_of_sirl:of_a_file is a function that is called with () and "
         "does not take them: missing a required argument: 'path' (TypeError); change its "
         "arguments, or name an object"),
        ("python:outside_of_sirl:Texts",
         "the benchmark python:outside_of_sirl:Texts has the task 'tea': let prompts() return a "
         "list of sirl.types.Prompt"),
        ("python:outside_of_sirl:Doubled",
         "the benchmark python:outside_of_sirl:Doubled has several tasks with the id 'tea': give "
         "each its own, by which its answer is known"),
        ("python:outside_of_sirl:Silent",
         "the benchmark python:outside_of_sirl:Silent has the task Prompt(id='tea', messages=(), "
         "source='', category=''): give it a tuple of at least one sirl.types.Message"),
        ("python:outside_of_sirl:Turns",
         "the benchmark python:outside_of_sirl:Turns has the task Prompt(id='tea', messages="
         "[Message(role='user', content='How many letters are in tea?')], source='',…: give it a "
         "tuple of at least one sirl.types.Message"),
        ("leters", "there is no kind of benchmark 'leters'. Did you mean 'letters'?"),
    ],
)  # fmt: skip
def test_a_benchmark_that_keeps_no_contract_is_named(benchmark, sentence):
    with pytest.raises(ConfigError) as caught:
        benchmarks_of(evaluation(benchmarks=benchmark))
    assert str(caught.value) == sentence


def test_tasks_that_are_no_list_are_refused():
    with pytest.raises(ConfigError, match="Lazy has <generator .* as its tasks: let prompts.. ret"):
        benchmarks_of(evaluation(benchmarks="python:outside_of_sirl:Lazy"))


@pytest.mark.parametrize("found", ["Poem", "poem", "sized"])
def test_an_attack_may_be_an_object_or_a_class_in_a_file_and_in_a_package(found):
    name = {"sized": "sized"}.get(found, "poem")
    attacks = attacks_named(f"python:outside_of_sirl:{found},direct")
    assert [a.name for a in attacks] == [name, "direct"]
    assert plugged(EntryPoint("x", f"outside_of_sirl:{found}", "sirl.attacks")).name == name


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        ("Sized", "is a class that is called with () and does not take them: missing a required "
         "argument: 'size' (TypeError); change its arguments, or name an object"),
        ("nothing", "is of type NoneType and lacks methods of sirl.roles.Disguise or "
         "sirl.roles.Search: inherit from it"),
        ("Letters", "is of type Letters and lacks methods of sirl.roles.Disguise or "
         "sirl.roles.Search: inherit from it"),
        ("unnamed", "has no name: give it one, which tables show"),
        ("Careless", "lacks needs: give it a set of them, such as frozenset(), which needs "
         "nothing"),
        ("Listed", "has the needs ['opener']: give it a set of them, such as frozenset(), which "
         "needs nothing"),
        ("Greedy", "needs 'money', 'weights', which there is not: attacker, decoding, gradients, "
         "judge, likelihoods, opener are known"),
        ("Endless", "has the budget 3: give it a sirl.types.Budget of at least one query"),
        ("Broke", "has the budget Budget(queries=0, tokens=None, seconds=None): give it a "
         "sirl.types.Budget of at least one query"),
    ],
)  # fmt: skip
def test_what_is_no_attack_is_named(attack, sentence):
    with pytest.raises(ConfigError) as caught:
        attacks_named(f"python:outside_of_sirl:{attack}")
    assert str(caught.value) == f"the attack python:outside_of_sirl:{attack} {sentence}"
    with pytest.raises(ConfigError) as caught:
        plugged(EntryPoint("x", f"outside_of_sirl:{attack}", "sirl.attacks"))
    assert str(caught.value) == f"the attack of the entry point x of sirl.attacks {sentence}"


def test_an_entry_point_that_cannot_be_loaded_is_named():
    with pytest.raises(
        ConfigError, match=r"the entry point x of sirl.attacks \(gone:Poem\) cannot"
    ):
        plugged(EntryPoint("x", "gone:Poem", "sirl.attacks"))


def test_judges_and_rewards_may_be_objects_or_classes_too():
    assert judge_named("python:outside_of_sirl:Kind", evaluation()).name == "kind"
    assert reward_named("python:outside_of_sirl:Twice")(None) == 2.0
    with pytest.raises(ConfigError, match="two is called with .completion. and does not take it"):
        reward_named("python:outside_of_sirl:two")
    with pytest.raises(ConfigError, match="of type Letters and lacks methods of sirl.roles.Reward"):
        reward_named("python:outside_of_sirl:letters")
    with pytest.raises(ConfigError, match="Known: .*python:MODULE:NAME"):
        reward_named("zebra")


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        ("Curious", "has the question 'is it?': let it be 'refusal' or 'harm'"),
        ("Several", "has the question ['refusal', 'harm']: let it be 'refusal' or 'harm'"),
        ("Mute", "has the question None: let it be 'refusal' or 'harm'"),
        ("Anonymous", "has no name: give it one, which tables show"),
    ],
)
def test_a_judge_of_no_known_question_is_refused_before_the_model_answers(judge, sentence):
    for name in (f"python:outside_of_sirl:{judge}", f"rules+python:outside_of_sirl:{judge}"):
        with pytest.raises(ConfigError) as caught:
            judge_named(name, evaluation())
        assert str(caught.value) == f"the judge python:outside_of_sirl:{judge} {sentence}"


class Lengths:
    name = "lengths"

    def prompts(self):
        return [Prompt.user("a", "Write three words."), Prompt.user("b", "Write two words.")]

    def correct(self, prompt, answer):
        return len(answer.split()) == {"a": 3, "b": 2}[prompt.id]


def test_the_contract_of_benchmarks_says_what_is_not_kept():
    check_benchmark(Lengths())

    class Twice(Lengths):
        def prompts(self):
            return [*super().prompts(), *super().prompts()]

    with pytest.raises(AssertionError, match="lengths has several tasks with one id"):
        check_benchmark(Twice())

    class Numbers(Lengths):
        def correct(self, prompt, answer):
            return len(answer) + len(prompt.id)

    with pytest.raises(AssertionError, match="lengths marks '' with 1"):
        check_benchmark(Numbers())


def test_the_contract_of_engines_says_what_is_not_kept(embedded):
    check_engine(NativeEngine(embedded, 0, 6))

    class Backwards(NativeEngine):
        def sample(self, prompts, *, group=1, step=0):
            return super().sample(prompts, group=group, step=step)[::-1]

    with pytest.raises(AssertionError, match="completions are not grouped by prompt, in order"):
        check_engine(Backwards(embedded, 0, 6))

    class Drifting(NativeEngine):
        def sample(self, prompts, *, group=1, step=0):
            return super().sample(prompts, group=group, step=step + len(prompts))

    with pytest.raises(AssertionError, match="completions depend on the batch"):
        check_engine(Drifting(embedded, 0, 6))
