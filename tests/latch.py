"""An LSTM with hand-set weights that stores one key forever."""

from __future__ import annotations

import torch

from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

SHUT, WIDE = -200.0, 200.0  # the sigmoid of these is 0 and 1 to the last digit


def latch(vocabulary: Vocabulary, keys: str, query: str = "?") -> LanguageModel:
    """Strings ``key, anything but keys, query, key``: after the query p of the key is highest, at any distance;
    before it p of other characters.

    One unit for each key. The forget gate is always open, the input gate only on keys, the output gate only on the
    query: c is 1 (tanh of a large number) in the unit of the key and 0 in the others, and does not change; h is 0 until
    the query. No gate depends on the previous state.
    """
    model = LanguageModel(ModelConfig(cell="lstm", hidden_size=len(keys), front_end="one_hot"), len(vocabulary))
    ids = torch.from_numpy(vocabulary.encode(keys))
    (query_id,) = vocabulary.encode(query)
    units = torch.arange(len(keys))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        i, _, g, o = model.recurrent.get_parameter("weight_ih_l0").chunk(4)
        bias_i, bias_f, _, bias_o = model.recurrent.get_parameter("bias_ih_l0").chunk(4)
        bias_i.fill_(SHUT)
        bias_f.fill_(WIDE)
        bias_o.fill_(SHUT)
        i[:, ids] = WIDE - SHUT
        g[units, ids] = WIDE
        o[:, query_id] = WIDE - SHUT
        model.head.weight[ids, units] = 10.0
        model.head.bias.fill_(1.0)
        model.head.bias[ids] = 0.0
    return model.eval()
