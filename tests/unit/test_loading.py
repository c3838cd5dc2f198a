import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sirl.errors import ModelError
from sirl.models.loading import check_roles

TEMPLATE = "{% for m in messages %}@{{ m['role'] }} {{ m['content'] }} {% endfor %}"


def of_words(*words):
    vocabulary = {word: n for n, word in enumerate(("[UNK]", "@", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", chat_template=TEMPLATE
    )


def test_a_tokenizer_that_maps_two_roles_to_one_token_is_refused():
    with pytest.raises(ModelError, match="of here reads the user's and the assistant's marks"):
        check_roles("here", of_words("x"))


def test_roles_with_tokens_of_their_own_pass(embedded):
    check_roles("here", of_words("user", "assistant"))
    check_roles("embedded", embedded.tokenizer)
