"""Sampling step by step on any device, without synchronizing for each character."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from charlstm.executors.cuda_graph import WARM_UP, CudaGraph
from charlstm.generation.mixture import Incremental

BLOCK = 1024  # characters of each text between two copies to or from the device
GRAPH_CHARACTERS = 32  # characters of each text in one graph, whose launch takes as long as some of them
MIN_GRAPH_PROMPT = 8  # prompt length above which a graph is captured, which takes as long as a few steps

MANY_IN_A_GRAPH = ("cuda",)
"""Devices on which a graph has many characters."""

SampleIds = Callable[[Tensor, Tensor], Tensor]
"""Logits [B, V] and uniform draws [B] to ids [B]."""


class StepDecoder:
    """Decodes B texts from the beginning.

    One character of all texts is one replay of a :class:`~charlstm.executors.cuda_graph.CudaGraph`: sampling from the
    logits, storing the ids, and the model's step. On an NVIDIA GPU another graph has ``GRAPH_CHARACTERS`` of them; a
    long prompt is encoded by a graph, too. Uniform draws for many characters are copied to the device in advance, and
    sampled ids are copied back in blocks, so that the device does not wait for the host within a block.
    """

    def __init__(self, model: Incremental, batch_size: int, sample_ids: SampleIds) -> None:
        self._model, self._sample_ids = model, sample_ids
        device, size = model.device, (BLOCK, batch_size)
        # MPS has no float64
        self._draws = torch.zeros(size, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        self._ids = torch.zeros(size, dtype=torch.int64, device=device)
        self._log_probabilities = torch.zeros(size, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._sample_graph = self._capture(self._sample_one)
        self._sample_many_graph: CudaGraph | None = None

    def _capture(self, step: Callable[[], None], warm_up: int = WARM_UP) -> CudaGraph:
        """Capture ``step``, which advances the state and the position. The state is restored; set the position before
        replaying."""
        initial = self._model.state
        self._position.zero_()
        with torch.no_grad():
            graph = CudaGraph(step, self._model.device, warm_up)
        self._model.state = initial
        return graph

    def _encode_one(self) -> None:
        ids = self._ids.index_select(0, self._position)[0]
        self._position.add_(1)
        self._model(ids)

    def _encode_prompt(self, ids: Tensor) -> None:
        """Advance the model over ids [N, B]."""
        encode_one: Callable[[], None] = (
            self._capture(self._encode_one) if len(ids) > MIN_GRAPH_PROMPT else self._encode_one
        )
        for block in torch.split(ids, BLOCK):
            self._ids[: len(block)] = block
            self._position.zero_()
            for _ in range(len(block)):
                encode_one()

    def _sample_one(self) -> None:
        logits = self._model.logits
        ids = self._sample_ids(logits, self._draws.index_select(0, self._position)[0])
        chosen = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        self._ids.index_copy_(0, self._position, ids[None])
        self._log_probabilities.index_copy_(0, self._position, chosen[None].float())
        self._position.add_(1)
        self._model(ids)

    def _sample_many(self) -> None:
        for _ in range(GRAPH_CHARACTERS):
            self._sample_one()

    def _sample_characters(self, count: int) -> None:
        """Sample the next characters of a block."""
        if count >= 2 * GRAPH_CHARACTERS and self._model.device.type in MANY_IN_A_GRAPH:
            if self._sample_many_graph is None:
                self._sample_many_graph = self._capture(self._sample_many, warm_up=0)  # the other graph has warmed up
            self._position.zero_()
            for _ in range(count // GRAPH_CHARACTERS):
                self._sample_many_graph()
            count %= GRAPH_CHARACTERS
        else:
            self._position.zero_()
        for _ in range(count):
            self._sample_graph()

    def sample(self, draws: Tensor, prompt: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode ``prompt`` [N, B], required in the first call, then sample one character for each of ``draws`` [T, B].

        Returns the sampled ids and ln p at temperature 1, both [T, B], on the CPU.
        """
        blocks: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            if prompt is not None:
                self._encode_prompt(prompt)
            for block in torch.split(draws, BLOCK):
                count = len(block)
                self._draws[:count] = block
                self._sample_characters(count)
                blocks.append(
                    (self._ids[:count].to("cpu", copy=True), self._log_probabilities[:count].to("cpu", copy=True))
                )
        ids, log_probabilities = zip(*blocks, strict=True)
        return torch.cat(ids), torch.cat(log_probabilities)
