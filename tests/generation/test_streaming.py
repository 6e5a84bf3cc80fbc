"""A streamed text equals the generated one."""

from __future__ import annotations

import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.generation import Sampling, TextRequest, generate
from charlstm.generation.streaming import stream
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("abc\n")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    return LanguageModel(ModelConfig(hidden_size=8), VOCABULARY.size).eval()


@pytest.mark.parametrize("until", ["", "\n", "ab"])
@pytest.mark.parametrize("leave_out", [True, False])
@pytest.mark.parametrize("length", [0, 3, 60])
def test_streamed_pieces_are_the_generated_text(model, until, leave_out, length):
    for seed in range(4):
        request = TextRequest("ca", length, until, leave_out_until=leave_out)
        (sample,) = generate(model, VOCABULARY, request, Sampling(), seed)
        pieces = list(stream(model, VOCABULARY, request, Sampling(), seed))
        assert [i for piece in pieces for i in piece] == list(sample.ids)
        assert pieces[0] == VOCABULARY.encode("ca").tolist()


def test_unknown_prompt_is_refused_before_the_first_piece(model):
    with pytest.raises(UserError, match="not in the vocabulary"):
        stream(model, VOCABULARY, TextRequest("x", 5), Sampling(), 1)
