"""The registry of front ends, which turn characters into the input of the first layer."""

from __future__ import annotations

from typing import NamedTuple


class FrontEndEntry(NamedTuple):
    """A front end as the configuration sees it; its class is in charlstm/model.

    description      what it does, for ``charlstm config``
    implementation   ``module:class``; the class has ``from_config(config, vocabulary_size)`` and is a
                     :class:`charlstm.model.front_end.FrontEnd`
    options          the fields of the model section that this front end has; any other front end refuses them
    """

    description: str
    implementation: str
    options: tuple[str, ...] = ()


FRONT_ENDS = {
    "one_hot": FrontEndEntry("each character selects a column of the input weights", "charlstm.model.front_end:OneHot"),
    "embedding": FrontEndEntry(
        "a learned vector of embedding_size numbers",
        "charlstm.model.front_end:Embedding",
        ("embedding_size", "input_dropout", "tie_weights"),
    ),
    "convolution": FrontEndEntry(
        "learned filters over the embedded character and the few before it (CNN-LSTM; Kim et al. 2016)",
        "charlstm.model.convolution:Convolution",
        ("embedding_size", "kernel_sizes", "filters", "highway", "input_dropout"),
    ),
}
