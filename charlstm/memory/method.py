"""The sections of a report on how it was measured."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from charlstm import __version__
from charlstm.config import MemoryConfig, as_yaml
from charlstm.config.experiments.base import TrainingExperiment
from charlstm.config.memory import INITIALIZATIONS
from charlstm.memory.claims import CLAIMS, claims_record, earlier_files
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible


def revised_claims(config: MemoryConfig) -> list[Section]:
    """The section on claims of earlier versions of the file; empty without one."""
    rows = [[visible(text) for text in (one.claim, one.result, one.now, one.why)] for one in config.revised]
    if not rows:
        return []
    table = Table(["claim", "result", "now", "why"], rows, caption="Claims that were changed after a run")
    return [Section(title="Revised claims", tables=[table])]


def _unequal(config: MemoryConfig) -> str:
    """The arms for which these settings differ, in words; "" if there are none."""
    fields = [("training", name) for name in ("budget", "batch_size", "clip_grad_norm", "sequence_length")]
    arms = [visible(arm) for arm in config.trained(config.arms) if config.sets(arm, *fields)]
    return f"; some of these differ for {', '.join(arms)}: see the table below" if arms else ""


def _search_settings(config: MemoryConfig) -> list[tuple[str, str]]:
    """What differs in the runs of the search, for each experiment where something does."""
    sections = config.experiments.present().items()
    return [
        (
            f"Search: {name}",
            f"The runs that select initializations and rates differ in {as_yaml(section.search)}: what is best for "
            "them need not be best for the judged runs",
        )
        for name, section in sections
        if isinstance(section, TrainingExperiment) and section.search
    ]


def method(config: MemoryConfig, folder: Path, made_by: str) -> Section:
    """How everything was measured, by the command ``made_by``, with runs in ``folder``."""
    facts = [
        ("Made by", made_by),
        (
            "Seeds",
            f"{config.seeds} runs of each arm are judged, with the seeds {config.first_seed} to "
            f"{config.judged_seeds()[-1]}. Its initialization and its learning rate are selected before, by the "
            f"validation scores of runs with other seeds ({config.search_seeds} for each initialization and rate), "
            "which are not judged: the middle one (or the lower of the two middle ones) of the rates at which each of "
            "them reaches the target loss, or else the rate with the best score; of several initializations, the one "
            "with the best score, then the one that reaches the target at more rates. Rates: "
            f"{', '.join(f'{rate:g}' for rate in config.learning_rates)} unless an experiment sets another grid; "
            f"while the best is at an edge, up to {config.widenings} more beyond that edge. The training text of a "
            "task differs by seed",
        ),
        *_search_settings(config),
        (
            "Diverged",
            "Copying, real text and the gradient of trained networks leave out a judged run that diverged, and a mean "
            "or median over the others has no bounds; all other experiments measure its best checkpoint",
        ),
        (
            "Equal",
            "All arms of an experiment have the same budget, grid of learning rates, batch size and clipping, "
            "and the hidden_size whose number of parameters is nearest to that of the first arm, unless the file "
            f"sets the hidden_size of an arm{_unequal(config)}. Every claim is about this budget",
        ),
        (
            "Solved",
            f"{config.solve_threshold:.0%} of {config.test_strings:,} test strings answered correctly; the longest "
            f"lag is the longest that {config.min_seed_fraction:.0%} of the seeds solve",
        ),
        (
            "Verdicts",
            "A value has a lower and an upper bound, each right in 95% of all repetitions. A claim of at least a "
            "threshold held if the lower bound reaches it, did not hold if the upper bound is below it, and is "
            "undecided otherwise; at most likewise. The upper bound of a longest length is right less often (in "
            "the worst case, with five seeds and four lengths, in 88%), since it is from a test at each length",
        ),
        (
            "Claims",
            f"Written to {CLAIMS} before the first run, with the seeds and the configuration, whose SHA-256 is now "
            f"{claims_record(config)['configuration_sha256']}; a later change is reported at the top of this page"
            + (f". Before --overwrite: {', '.join(earlier)}" if (earlier := earlier_files(folder)) else ""),
        ),
        ("Made with", f"charlstm {__version__}, torch {torch.__version__}; {time.strftime('%Y-%m-%d')}"),
    ]
    rows = [
        [
            visible(name),
            visible("; ".join(f"{key}: {as_yaml(value)}" for key, value in changes.items()) or "the shared settings"),
        ]
        for arm, settings in config.arms.items()
        for name, changes in (
            (arm, {key: value for key, value in settings.items() if key != INITIALIZATIONS}),
            *((f"{arm}, {one}", changes) for one, changes in settings.get(INITIALIZATIONS, {}).items()),
        )
    ]
    shared = "; ".join(f"{key}: {as_yaml(value)}" for key, value in config.shared.items())
    return Section(
        title="How it was measured",
        facts=[*facts, ("Shared", visible(shared))],
        tables=[Table(["arm", "settings"], rows, caption="The arms", folded=True)],
    )
