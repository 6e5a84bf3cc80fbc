"""The front ends: how characters enter the first layer. An entry here and a class in charlstm/model make one."""

from __future__ import annotations

from typing import NamedTuple


class FrontEndEntry(NamedTuple):
    """What a configuration knows of a front end.

    description      what it does, for ``charlstm config``
    implementation   ``module:class``; the class has ``from_config(config, vocabulary_size)`` and what
                     :data:`charlstm.model.front_end.FrontEnd` says
    options          the fields of the model section that it has; front ends that do not list a field refuse it
    """

    description: str
    implementation: str
    options: tuple[str, ...] = ()


FRONT_ENDS = {
    "one_hot": FrontEndEntry("each has its own column of input weights", "charlstm.model.front_end:OneHot"),
    "embedding": FrontEndEntry(
        "a learnt vector of embedding_size numbers", "charlstm.model.front_end:Embedding", ("embedding_size",)
    ),
    "convolution": FrontEndEntry(
        "what learnt filters find in the embedded character and the few before it (CNN-LSTM; Kim et al. 2016)",
        "charlstm.model.convolution:Convolution",
        ("embedding_size", "kernel_sizes", "filters", "highway"),
    ),
}
