"""An LSTM with hand-set weights, one unit of which counts open brackets."""

from __future__ import annotations

import torch

from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(tuple("()ab"))
COUNTER, SIZE = 2, 5
SHUT, WIDE = -200.0, 200.0  # the sigmoid of these is 0 and 1 to the last digit


def bracket_counter() -> LanguageModel:
    """c of unit 2 is the number of open brackets: 1 is added on "(" and subtracted on ")". With h = tanh(c), the logit
    of ")" is 6 h - 4: it is probable only while a bracket is open. The other units hold noise that depends on the
    latest character, and are not read."""
    torch.manual_seed(1)
    model = LanguageModel(ModelConfig(cell="lstm", hidden_size=SIZE, front_end="one_hot"), VOCABULARY.size)
    opened, closed, *_ = VOCABULARY.encode("()ab")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        i, _, g, _ = model.recurrent.get_parameter("weight_ih_l0").chunk(4)
        bias_i, bias_f, _, bias_o = model.recurrent.get_parameter("bias_ih_l0").chunk(4)
        bias_o.fill_(WIDE)
        bias_i.fill_(WIDE)
        bias_f.fill_(SHUT)
        g.normal_()
        g[COUNTER] = 0.0
        bias_f[COUNTER], bias_i[COUNTER] = WIDE, SHUT
        i[COUNTER, [opened, closed]] = 2 * WIDE
        g[COUNTER, opened], g[COUNTER, closed] = WIDE, -WIDE
        model.head.weight[closed, COUNTER] = 6.0
        model.head.bias[closed] = -4.0
    return model.eval()


def brackets(length: int, seed: int = 1) -> str:
    """A text whose brackets match and nest up to four deep."""
    generator, text, depth = torch.Generator().manual_seed(seed), "", 0
    while len(text) < length:
        kind = int(torch.randint(4, (1,), generator=generator))
        if kind == 0 and depth < 4:
            text, depth = text + "(", depth + 1
        elif kind == 1 and depth:
            text, depth = text + ")", depth - 1
        else:
            text += "ab"[kind % 2]
    return text + ")" * depth
