"""The public interface: what programs that use charlstm as a library may rely on.

    import charlstm

    run = charlstm.load("runs/quickstart")
    print(run.generate("def ", length=400, temperature=0.8)[0].text)
    print(run.score("for i in range(10):").bits_per_character)

=============  ========================================================================================
``load``       a trained run, from its folder or a checkpoint: a :class:`LoadedRun`
``LoadedRun``  ``generate``, ``infill``, ``score``, ``corpus``; ``model``, ``vocabulary``, ``config``
``Sample``     one text that ``generate`` gives
``Infilled``   one text that ``infill`` gives
``Score``      what ``score`` gives, in nats and bits
``UserError``  raised for wrong input and for files that cannot be read, with a message for people
``nn``         recurrent layers with the interface of torch.nn: :mod:`charlstm.nn`
=============  ========================================================================================

Everything here is an attribute of ``charlstm`` itself, which loads torch only when one of them is asked for.
"""

from __future__ import annotations

from charlstm import nn
from charlstm.errors import UserError
from charlstm.evaluation import Score
from charlstm.generation import Infilled, Sample
from charlstm.training.loaded import LoadedRun, load

__all__ = ["Infilled", "LoadedRun", "Sample", "Score", "UserError", "load", "nn"]
