"""Recurrent layers with the interface of torch.nn: constructor arguments, inputs, outputs and state dictionaries.

``RNN``, ``LSTM`` and ``GRU`` exchange their state dictionaries with torch.nn's, and all take packed sequences. What
differs: ``GRU`` also takes ``reset_after``; cells with a forget gate take ``forget_bias`` (a number or ``chrono``
with ``chrono_length``; by default it is initialized as in torch.nn); ``RNN`` with relu is initialized as the IRNN; all
take an ``executor``; and ``LSTM`` has no projections. The initialization options are documented in
:mod:`charlstm.model.initialization`.

Second derivatives work with every executor. ``torch.func``, forward-mode differentiation, ``torch.jit.trace``,
``torch.compile`` and ``torch.export`` work with ``executor="auto"``, ``"eager"`` and ``"reference"``; the equations
then run step by step, so that a trace or a compiled graph is valid for one length only. ``cpp`` and ``triton`` raise an
error; wrap a layer in ``torch.compiler.disable`` to use their kernels in a compiled program.
"""

from charlstm.nn.gru import GRU
from charlstm.nn.leaky import Leaky
from charlstm.nn.lstm import LSTM, CoupledLSTM, PeepholeLSTM
from charlstm.nn.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "CoupledLSTM", "Leaky", "PeepholeLSTM"]
