"""Recurrent stacks, front ends and the language model."""

from charlstm.model.language_model import LanguageModel
from charlstm.model.stack import RecurrentStack

__all__ = ["LanguageModel", "RecurrentStack"]
