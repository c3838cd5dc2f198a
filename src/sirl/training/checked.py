"""Observers and example sources of the user, whose results are checked before they are used."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from operator import index
from typing import Any, NamedTuple, SupportsFloat

from sirl.errors import PluginError, shown
from sirl.roles import Control, ExampleSource, Observer
from sirl.text import is_blank, many
from sirl.training.observers.log import OF_THE_LOG
from sirl.types import Completion, Example

__all__ = ["CheckedObserver", "CheckedSource", "number_of"]


def number_of(value: Any) -> float | None:  # noqa: ANN401 - of the user's
    """A number, which may be a scalar of another library, as a float; None if it is no number.

    >>> number_of(3), number_of("3"), number_of(10**400)
    (3.0, None, None)
    """
    try:
        plain = value.item() if hasattr(value, "item") else value
        return float(plain) if isinstance(plain, SupportsFloat) else None
    except (TypeError, ValueError, RuntimeError, OverflowError):  # an array of several numbers
        return None


class CheckedObserver(Observer):
    """An observer of the user, whose metrics and requests are checked before the step is logged."""

    def __init__(self, name: str, observer: Observer) -> None:
        self.name = name
        self.observer = observer

    def on_start(self, taken: int, state: Mapping[str, Any]) -> None:
        """Start it."""
        self.observer.on_start(taken, state)

    def on_step(self, taken: int, metrics: dict[str, float], control: Control) -> None:
        """Show it the step; the numbers that it adds become floats.

        Raises:
            PluginError: It removed or changed a metric, added one that is no number, or requested
                something without saying why.
        """
        before = dict(metrics)
        self.observer.on_step(taken, metrics, control)
        if fault := convert_metrics(metrics, before) or convert_requests(control):
            raise PluginError(f"at step {taken} the observer {self.name} {fault}")

    def state(self) -> dict[str, Any]:
        """Its state."""
        return self.observer.state()

    def close(self) -> None:
        """Close it."""
        self.observer.close()


def convert_metrics(metrics: dict[Any, Any], before: Mapping[str, float]) -> str:
    """Turn added numbers into floats; the first fault, empty without one."""
    if removed := [name for name in before if name not in metrics]:
        return f"removed the metric {shown(removed[0])}: let it only add metrics"
    for name, value in metrics.items():
        if not isinstance(name, str):
            return f"set the metric {shown(name)}: let it use text as the name"
        found, added = number_of(value), name not in before
        if found is None:
            return f"set the metric {shown(name)} to {shown(value)}: let it set a number"
        if name in OF_THE_LOG or not (added or value is before[name] or found == before[name]):
            return (
                f"set the metric {shown(name)}, which is not its own, to {shown(value)}: let it "
                "use another name"
            )
        if added:
            metrics[name] = found
    return ""


def convert_requests(control: Control) -> str:
    """Turn flags into booleans; the first fault, empty without one."""
    for name in ("stop", "done"):
        why: object = getattr(control, name)
        if not isinstance(why, str) or (why and is_blank(why)):
            return f"set control.{name} to {shown(why)}: let it set a sentence that says why"
    for name in ("save", "broken"):
        flag: object = getattr(control, name)
        found = number_of(flag)
        if found is None:
            return f"set control.{name} to {shown(flag)}: let it set True"
        setattr(control, name, bool(found))
    return ""


class Given(NamedTuple):
    """The values of an example that training reads: converted, not yet checked."""

    prompt_ids: Any
    token_ids: Any
    reference_prompt_ids: Any
    logprobs: Any
    advantage: Any
    kl_weight: Any
    on_policy: Any

    @classmethod
    def by(cls, example: Example) -> "Given":
        """Those of an example."""
        completion, reference = example.completion, example.reference_prompt_ids
        return cls(
            as_ids(completion.prompt_ids),
            as_ids(completion.token_ids),
            None if reference is None else as_ids(reference),
            as_floats(completion.logprobs),
            as_floats(example.advantage),
            as_floats(example.kl_weight),
            example.on_policy,
        )

    def example(self, of: Example) -> Example:
        """An example with these values."""
        completion = replace(
            of.completion,
            prompt_ids=self.prompt_ids,
            token_ids=self.token_ids,
            logprobs=self.logprobs if self.on_policy else of.completion.logprobs,
        )
        return replace(
            of,
            completion=completion,
            advantage=self.advantage,
            kl_weight=self.kl_weight,
            reference_prompt_ids=self.reference_prompt_ids,
        )

    @property
    def prompts(self) -> dict[str, Any]:
        """The prompt, and that of the reference if it has its own, by the name of the field."""
        own = {"prompt_ids": self.prompt_ids}
        if self.reference_prompt_ids is None:
            return own
        return own | {"reference_prompt_ids": self.reference_prompt_ids}


@dataclass(frozen=True)
class CheckedSource:
    """A source of examples of the user; satisfies `sirl.roles.ExampleSource`."""

    name: str
    source: ExampleSource
    vocabulary: int
    """Number of token ids that the model knows, from 0."""
    context: int
    """Maximum tokens of a prompt and its completion."""

    def examples(self, step: int) -> list[Example]:
        """The examples of a step, counted from 0.

        Raises:
            PluginError: They are no examples, or do not fit together or the model.
        """
        made: object = self.source.examples(step)
        if not isinstance(made, Sequence | Iterator) or isinstance(made, str):
            raise self.error(step, f"{shown(made)}: let it give a list of sirl.types.Example")
        found: list[Example] = []
        for example in made:
            if not isinstance(example, Example) or not isinstance(example.completion, Completion):
                what = f"{shown(example)} as an example"
                raise self.error(step, f"{what}: let it give sirl.types.Example of a Completion")
            given = Given.by(example)
            if fault := self.fault_of_tokens(given) or fault_of_numbers(given):
                raise self.error(step, f"an example {fault}")
            found.append(given.example(example))
        return found

    def error(self, step: int, fault: str) -> PluginError:
        """What to say of what it gave for a step."""
        return PluginError(f"the source {self.name} gave for step {step + 1} {fault}")

    def fault_of_tokens(self, given: Given) -> str:
        """What is wrong with the token ids of an example; empty if nothing is."""
        for name, ids in (given.prompts | {"token_ids": given.token_ids}).items():
            if not isinstance(ids, tuple) or not ids or not all(isinstance(i, int) for i in ids):
                return f"with the {name} {shown(ids)}: let it give a tuple of at least one token id"
            if unknown := [i for i in ids if not 0 <= i < self.vocabulary]:
                return (
                    f"with the token id {unknown[0]} in {name}: let it give ids from 0 to "
                    f"{self.vocabulary - 1}, which the model knows"
                )
        length = max(map(len, given.prompts.values())) + len(given.token_ids)
        if length > self.context:
            return f"of {length} tokens: let it give at most {self.context}, the model's context"
        return ""


def fault_of_numbers(given: Given) -> str:
    """What is wrong with the numbers of an example; empty if nothing is."""
    advantage, tokens = given.advantage, len(given.token_ids)
    each = advantage if isinstance(advantage, tuple) else (advantage,)
    if each is advantage and len(each) != tokens:
        count = many(len(each), "advantage")
        return f"of {many(tokens, 'token')} with {count}: let it give one, or one per token"
    if not all(isinstance(a, float) and isfinite(a) for a in each):
        return f"with the advantage {shown(advantage)}: let it give finite numbers"
    weight = given.kl_weight
    if weight is not None and not (isinstance(weight, float) and isfinite(weight)):
        return f"with the kl_weight {shown(weight)}: let it give a finite number or None"
    if not isinstance(given.on_policy, bool):
        return f"with on_policy {shown(given.on_policy)}: let it give True or False"
    sampled = given.logprobs if isinstance(given.logprobs, tuple) else ()
    if given.on_policy and [type(v) for v in sampled] != [float] * tokens:
        return (
            f"of {many(tokens, 'token')} with the logprobs {shown(given.logprobs)}: let it give "
            "one number per token, or on_policy=False"
        )
    return ""


def as_floats(value: Any) -> Any:  # noqa: ANN401 - of the user's
    """Numbers as floats, in a tuple if they are several; whatever is none stays.

    >>> as_floats([1, 0.5]), as_floats(2), as_floats("x")
    ((1.0, 0.5), 2.0, 'x')
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return tuple(as_floats(v) for v in value)
    found = number_of(value)
    return value if found is None else found


def as_ids(value: Any) -> Any:  # noqa: ANN401 - of the user's
    """Token ids as a tuple of integers; whatever is none stays.

    >>> as_ids([3, 1]), as_ids([0.5])
    ((3, 1), [0.5])
    """
    try:
        return tuple(map(index, value))
    except TypeError:
        return value
