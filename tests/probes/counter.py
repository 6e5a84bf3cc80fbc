"""An LSTM with hand-set weights that counts."""

from __future__ import annotations

from itertools import pairwise

import torch

from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.probes.tasks.counting import END
from charlstm.text.vocabulary import Vocabulary

SHUT, WIDE = -200.0, 200.0  # the sigmoid of these is 0 and 1 to the last digit
SILENT, CLOCK, FIRST = 0, 1, 2


def counter(vocabulary: Vocabulary, letters: str = "ab", forget_bias: float = WIDE) -> LanguageModel:
    """Accepts a^n b^n (with more letters: a^n b^n c^n) for every n.

    Unit 2 + j adds 1 to c on letter j, subtracts 1 on letter j + 1, and h = tanh(c). Unit 0 is always zero; unit 1 adds
    1 on every letter and has no effect on the output. The logit of letter j + 1 is 40 / 2^j of its counter's h, that of
    the end mark 5: a letter is predicted again while its counter is above zero.
    With a small ``forget_bias``, the logit of the forget gate, the count leaks.
    """
    pairs = len(letters) - 1
    model = LanguageModel(ModelConfig(cell="lstm", hidden_size=FIRST + pairs, front_end="one_hot"), len(vocabulary))
    ids = torch.from_numpy(vocabulary.encode(letters))
    (end,) = vocabulary.encode(END)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        i, _, g, _ = model.recurrent.get_parameter("weight_ih_l0").chunk(4)
        bias_i, bias_f, _, bias_o = model.recurrent.get_parameter("bias_ih_l0").chunk(4)
        bias_i.fill_(SHUT)
        bias_f.fill_(forget_bias)
        bias_o.fill_(WIDE)
        i[CLOCK, ids] = g[CLOCK, ids] = 2 * WIDE
        for j, (up, down) in enumerate(pairwise(ids)):
            i[FIRST + j, up] = i[FIRST + j, down] = 2 * WIDE
            g[FIRST + j, up], g[FIRST + j, down] = WIDE, -WIDE
            model.head.weight[down, FIRST + j] = 40.0 / 2**j
        model.head.bias[end] = 5.0
    return model.eval()
