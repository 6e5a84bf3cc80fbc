"""Networks trained on a real text: who predicts better, and where memory pays."""

from __future__ import annotations

from charlstm.memory.experiments.text.experiment import TextExperiment

__all__ = ["TextExperiment"]
