from unittest.mock import Mock

import pytest
from huggingface_hub import errors
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sirl.errors import ModelError
from sirl.models import loading
from sirl.models.loading import check_roles, load
from sirl.models.template import Voice

TEMPLATE = "{% for m in messages %}@{{ m['role'] }} {{ m['content'] }} {% endfor %}"


def of_words(*words):
    vocabulary = {word: n for n, word in enumerate(("[UNK]", "@", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", chat_template=TEMPLATE
    )


def test_a_tokenizer_that_maps_two_roles_to_one_token_is_refused():
    with pytest.raises(
        ModelError, match="of here encodes the user's and the assistant's role markers"
    ):
        check_roles("here", of_words("x"), Voice())


def test_roles_with_tokens_of_their_own_pass(embedded):
    check_roles("here", of_words("user", "assistant"), Voice())
    check_roles("embedded", embedded.tokenizer, embedded.voice)


def told(kind):
    """An answer of the hub, without the response that its client builds it from."""
    error = kind.__new__(kind)
    error.args = ("told",)
    return error


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (told(errors.GatedRepoError), "--model no/where is gated: accept its terms"),
        (told(errors.RepositoryNotFoundError), "is neither a local folder nor a model on the hub"),
        (errors.LocalEntryNotFoundError("told"), "the hub cannot be reached: give a checkpoint"),
        (
            errors.EntryNotFoundError("told"),
            "--model no/where is not a model: it has no config.json",
        ),
        (told(errors.HfHubHTTPError), r"--model no/where cannot be loaded: told"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(raised, said, monkeypatch):
    monkeypatch.setattr(loading, "hf_hub_download", Mock(side_effect=raised))
    with pytest.raises(ModelError, match=said):
        load("no/where")


def test_a_name_that_no_hub_could_have_is_refused_without_asking(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="--model a b/c is neither a folder nor a hub id"):
        load("a b/c")
