"""The tokens that end a turn, from the files of a checkpoint and from its chat template."""

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from sirl.errors import ModelError, printable
from sirl.models.template import Voice, turn_end, turn_gap

__all__ = ["turn_ends"]


def turn_ends(
    name: str,
    model: Any,  # noqa: ANN401 - plain, or wrapped by peft
    tokenizer: PreTrainedTokenizerBase,
    voice: Voice,
) -> tuple[frozenset[int], tuple[str, ...]]:
    """All end-of-turn tokens, with warnings about what is unusual.

    They come from the files of the checkpoint and from the template's end of an assistant turn.

    Raises:
        ModelError: A file names an end-of-turn token that is not a token id.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    given = list(dict.fromkeys(ids_named(name, model, tokenizer)))
    ends = frozenset(token for _, token in given if 0 <= token < rows)
    notes = tuple(
        f"{file} of {name} names {token} as an end-of-turn token, and the embedding has no such "
        "row: it is left out"
        for file, token in given
        if token not in ends
    )
    more, said = ends_written(name, ends, rows, tokenizer, voice)
    return ends | more, notes + said


def ids_named(
    name: str,
    model: Any,  # noqa: ANN401 - plain, or wrapped by peft
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[tuple[str, int]]:
    """The ids that the files of a checkpoint name, each with its file.

    Raises:
        ModelError: One of them is not an id.
    """
    inner = model.config.get_text_config()
    for file, part in (
        ("the tokenizer", tokenizer),
        ("config.json", model.config),
        ("config.json", inner),
        ("generation_config.json", getattr(model, "generation_config", None)),
    ):
        named = getattr(part, "eos_token_id", None)
        for token in named if isinstance(named, list) else [] if named is None else [named]:
            if not isinstance(token, int) or isinstance(token, bool):
                raise ModelError(
                    f"{file} of {name} has the eos_token_id {printable(repr(named))}, which is not "
                    f"a token id: {advice(token, tokenizer)}"
                )
            yield file, token


def advice(token: object, tokenizer: PreTrainedTokenizerBase) -> str:
    """How to name an end-of-turn token that is given in another way than by its id."""
    known = tokenizer.get_added_vocab().get(token) if isinstance(token, str) else None
    return "write the id of the token" if known is None else f"write {known}"


def ends_written(
    name: str,
    ends: frozenset[int],
    rows: int,
    tokenizer: PreTrainedTokenizerBase,
    voice: Voice,
) -> tuple[frozenset[int], tuple[str, ...]]:
    """The token with which the template ends an assistant turn, if it is not known; warnings."""
    closing = turn_end(tokenizer, voice).strip()
    special = {*tokenizer.get_added_vocab().values(), *tokenizer.all_special_ids}
    written = closing or turn_gap(tokenizer, voice).strip()  # some end a turn only before the next
    ids = tokenizer(written, add_special_tokens=False)["input_ids"] if written else []
    first = next((i for i in ids if i in special), None)
    if first is not None and first < rows:
        token = printable(repr(tokenizer.convert_ids_to_tokens(first)))
        said = (
            f"no file of {name} names {token} as an end-of-turn token, but its chat template "
            f"writes it after an answer: {token} ends turns too"
        )
        return frozenset({first}), () if first in ends else (said,)
    if closing and not ends & {*ids}:
        said = (
            f"the chat template of {name} closes a turn with {printable(repr(closing))}, "
            "which is not a single token that can stop sampling: answers may continue into "
            "invented turns"
        )
        return frozenset(), (said,)
    return frozenset(), ()
