"""The public interface of charlstm as a library.

    import charlstm

    run = charlstm.train("poem.txt", minutes=1)  # or charlstm.load("runs/poem")
    print(run.generate("Once", length=400, temperature=0.8))
    print(run.score("Once upon a time").bits_per_character)

=============  ===============================================================================================
``train``      trains a run on a text: :mod:`charlstm.text_training`
``load``       loads a trained run from its directory or a checkpoint: a :class:`LoadedRun`
``LoadedRun``  ``generate``, ``beam_search``, ``stream``, ``infill``, ``score``, ``next_characters``, ``states``,
               ``corpus``; ``model``, ``config``
``Sample``     one text returned by ``generate``
``Infilled``   one text returned by ``infill``
``Score``      the result of ``score``, in nats and bits
``UserError``  raised for wrong input and for unreadable files, with a message for users
``inspect``    what the units of a run do, and what its predictions depend on: :mod:`charlstm.inspection`
``export``     a page that writes text, ONNX, torch.nn weights, or a folder for hubs: :mod:`charlstm.exports`
``nn``         recurrent layers with the interface of torch.nn: :mod:`charlstm.nn`
=============  ===============================================================================================

All of these are attributes of ``charlstm``, which imports torch on first access.
"""

from charlstm import nn
from charlstm.api.loaded_run import LoadedRun
from charlstm.api.loading import load
from charlstm.errors import UserError
from charlstm.evaluation import Score
from charlstm.generation import Infilled, Sample

__all__ = ["Infilled", "LoadedRun", "Sample", "Score", "UserError", "load", "nn"]
