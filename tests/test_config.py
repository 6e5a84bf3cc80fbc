"""Configuration files: which are valid, and that each problem of any other gives one error with its location."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pydantic
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlstm.config import (
    CELL_OPTIONS,
    CompareConfig,
    Config,
    Document,
    MemoryConfig,
    ModelConfig,
    describe_fields,
    dump_yaml,
    json_schema,
    load_comparison,
    load_config,
    load_sweep,
    parse_config,
    validate,
)
from charlstm.config.corpus import MAX_CHARACTERS
from charlstm.config.fields import iter_fields, type_text
from charlstm.errors import UserError

LONG_TERM_MEMORY = Path(__file__).parent.parent / "configs" / "compare" / "long-term-memory.yaml"

FULL = """\
name: night train
corpus:
  source: [a.txt, "*.md"]
  encoding: latin-1
  validation_fraction: 0.2
  test_fraction: 5e-2
model:
  cell: gru
  hidden_size: 128
  front_end: embedding
  reset_after: false
training:
  learning_rate: 1e-3
  clip_grad_norm: null
  schedule: plateau
  budget: {steps: 100, minutes: 2}
  device: cuda:1
"""

COMPARE = """\
corpus:
  source: a.txt
model:
  hidden_size: 32
  forget_bias: 2
training:
  seed: 7
  budget: {steps: 5}
seeds: 2
arms:
  lstm:
  rnn:
    model.cell: rnn
  slow gru:
    model:
      cell: gru
      reset_after: false
    training.learning_rate: 1e-4
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def _write(text: str | bytes) -> Path:
        path = tmp_path / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


@pytest.fixture
def errors(write: Any) -> Any:
    """The lines of the error for a text, without the folder."""

    def _errors(text: str | bytes, *overrides: str, load: Any = load_config) -> list[str]:
        path = write(text)
        with pytest.raises(UserError) as caught:
            load(path, overrides)
        return str(caught.value).replace(f"{path.parent}/", "").splitlines()

    return _errors


def minimal(**model: Any) -> dict[str, Any]:
    return {"corpus": {"source": "a.txt"}, "model": model}


def test_config_package_does_not_import_torch() -> None:
    check = "import sys, charlstm.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# --- valid files


def test_smallest_file_has_documented_defaults(write: Any) -> None:
    config = load_config(write("corpus: {source: python-stdlib}"))
    assert config.corpus.source == "python-stdlib"
    assert (config.model.cell, config.model.hidden_size, config.model.forget_bias) == ("lstm", 256, None)
    assert (config.model.front_end, config.model.embedding_size) == ("embedding", 64)
    assert (config.training.budget.epochs, config.training.budget.steps) == (10, None)
    assert config.training.learning_rate == 2e-3


def test_every_field_is_read(write: Any) -> None:
    config = load_config(write(FULL))
    assert config.name == "night train"
    assert config.corpus.source == ["a.txt", "*.md"]
    assert config.corpus.test_fraction == 0.05
    assert config.model.embedding_size == 64
    assert config.model.reset_after is False
    assert config.training.clip_grad_norm is None
    assert config.training.budget.model_dump() == {"epochs": None, "steps": 100, "minutes": 2.0, "target_nats": None}
    assert config.training.device == "cuda:1"


def test_commented_out_section_has_its_defaults(write: Any) -> None:
    assert load_config(write("corpus: {source: a}\nmodel:\n  # cell: rnn\n")).model.cell == "lstm"


def test_byte_order_mark_and_crlf_are_accepted(write: Any) -> None:
    content = b"\xef\xbb\xbfcorpus:\r\n  source: a\r\n"
    assert load_config(write(content)).corpus.source == "a"


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "+1e-4", "0.0001", ".0001", "100e-6"])
def test_scientific_notation_is_a_number(write: Any, text: str) -> None:
    config = load_config(write(f"corpus: {{source: a}}\ntraining: {{learning_rate: {text}}}"))
    assert config.training.learning_rate == 1e-4


@pytest.mark.parametrize("text", ["no", "yes", "on", "off", "n", "Y", "010", "0x10", "1:30", "2024-01-02", "1_000"])
def test_yaml_1_1_special_words_stay_text(write: Any, text: str) -> None:
    config = load_config(write(f"name: {text.replace(':', '-')}\ncorpus: {{source: [{text}x, {text}]}}"))
    assert config.name == text.replace(":", "-")
    assert config.corpus.source == [f"{text}x", text]


def test_overrides_are_yaml_and_applied_in_order(write: Any) -> None:
    path = write(FULL)
    config = load_config(
        path,
        [
            "model.hidden_size=1",
            "model.hidden_size=512",
            "training.budget={epochs: 2}",
            "training.budget.minutes=1e1",
            "name=no",
            "corpus.source=[x=y, z]",
            "model.reset_after=true",
            "training.clip_grad_norm=0.5",
        ],
    )
    assert config.model.hidden_size == 512
    assert config.training.budget.model_dump() == {"epochs": 2.0, "steps": None, "minutes": 10.0, "target_nats": None}
    assert config.name == "no"
    assert config.corpus.source == ["x=y", "z"]
    assert config.model.reset_after is True
    assert load_config(path).model.hidden_size == 128


def test_config_is_frozen() -> None:
    config = parse_config(minimal(), "here")
    with pytest.raises(pydantic.ValidationError):
        config.model.hidden_size = 3  # type: ignore[misc]


# --- errors and their locations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model:\n  hiden_size: 3", "x.yaml:3: model.hiden_size: unknown field. Did you mean hidden_size?"),
        ("model:\n  learning_rate: 3", "x.yaml:3: model.learning_rate: unknown field. learning_rate belongs"),
        ("training: {epochs: 3}", "unknown field. epochs belongs under training.budget"),
        ("training: {lr: 3}", "x.yaml:2: training.lr: unknown field. Did you mean learning_rate?"),
        ("lerning_rate: 3", "x.yaml:2: lerning_rate: unknown field. Did you mean training.learning_rate?"),
        ("modle: {}", "unknown field. Did you mean model? Allowed here: name, corpus, model, training"),
        ("model.cell: rnn", "x.yaml:2: model.cell: unknown field. cell belongs under model"),
        ("qqqqqq: rnn", "x.yaml:2: qqqqqq: unknown field. Allowed here: name,"),
        ("3: rnn", "x.yaml:2: 3: unknown field"),
        ("<<: {}", "x.yaml:2: <<: unknown field"),
        (
            "model: {cell: lsmt}",
            'gru | leaky | lstm | peephole | rnn, found "lsmt". Did you mean',
        ),
        ("model: {cell: no}", 'found "no"'),
        ("model:\n  hidden_size:\n    abc", "x.yaml:3: model.hidden_size: expected whole number >= 1 and"),
        ("model: {hidden_size: 0}", "expected whole number >= 1 and <= 65536, found 0"),
        ("model: {hidden_size: true}", "found true"),
        ("model: {hidden_size: 3.5}", "found 3.5"),
        ("model: {hidden_size: 1e2}", "found 100.0. Write 100"),
        ("model: {hidden_size: 1_000}", 'found "1_000". Write 1000'),
        ("model: {tie_weights: yes}", 'expected true | false, found "yes". Write true'),
        ("model: {tie_weights: Off}", 'expected true | false, found "Off". Write false'),
        ("model: {tie_weights: 'True'}", 'found "True". Write true'),
        ("model: {hidden_size: 010}", 'found "010". Write 10, without leading zeros'),
        ("model: {hidden_size: 0x10}", 'found "0x10"'),
        ("model: {hidden_size: 1:30}", 'found "1:30"'),
        ("model: {hidden_size: ~}", "found null. Remove the field"),
        ("model: {hidden_size: [1]}", "found a list of 1"),
        ("model: {hidden_size: {a: 1}}", "found a mapping"),
        (f"model: {{hidden_size: {'9' * 99}}}", "found a number of over 50 digits"),
        (f"model: {{hidden_size: {'9' * 5000}}}", 'found "9999'),
        ("model: {dropout: 1}", "model.dropout: expected number >= 0 and < 1, found 1"),
        ("model: {dropout: true}", "found true"),
        ('model: {dropout: "0,5"}', 'found "0,5". Write 0.5'),
        ('model: {dropout: "0.5"}', 'found "0.5"'),
        ("model: {dropout: .nan}", "found not a number"),
        ("model: {forget_bias: .inf}", "expected number >= -1000 and <= 1000 | chrono | null, found infinity"),
        ("model: {forget_bias: 1e999}", "expected number >= -1000 and <= 1000 | chrono | null, found infinity"),
        (f"model: {{forget_bias: 1{'0' * 399}}}", "1000 and <= 1000 | chrono | null, found a number of over 50"),
        ("model: {cell: gru, reset_after: no}", 'expected true | false, found "no"'),
        ("model: {cell: gru, reset_after: 1}", "expected true | false, found 1"),
        ("model: lstm", "model: expected a section with cell, hidden_size, num_layers"),
        ("model: [1]", "found a list of 1"),
        ("name: 2024", "name: expected name of a folder | null, found 2024. Put it in quotes"),
        ("name: true", "found true. Put it in quotes"),
        ("name: ../up", "does not begin with '.'"),
        ("name: a/b", "cannot contain '/'"),
        ('name: "a\\eb"', "so it cannot contain '\\x1b'"),
        ('name: ""', "a name has 1 to 100 characters"),
        ("training: {clip_grad_norm: 0}", "expected number > 0 | null, found 0"),
        ("training: {budget: {}}", "x.yaml:2: training.budget: training would never end"),
        ("training: {budget: {steps: 0}}", "budget.steps: expected whole number >= 1 | null, found 0"),
        ("training: {budget: 3}", "training.budget: expected a section with epochs, steps, minutes"),
        ("training: {device: gpu}", 'found "gpu". Did you mean cuda?'),
        ("training: {step_size: 1e-310}", "training.step_size: expected number >= 1e-09"),
        ("training: {device: cuda:x}", 'expected auto | cpu | cuda | cuda:N | mps, found "cuda:x"'),
        ('training: {device: "cpu\\n"}', "training.device: expected auto"),
        ("training: {seed: -1}", "found -1"),
        ("training: {betas: [1, 2]}", "training.betas: unknown field"),
        ("model: {front_end: one_hot, embedding_size: 3}", "has no effect with front_end: one_hot"),
        ("model: {kernel_sizes: [2]}", "model.kernel_sizes: has no effect with front_end: embedding, only with conv"),
        ("model: {filters: 32}", "model.filters: has no effect with front_end: embedding, only with convolution"),
        ("model: {highway: false}", "model.highway: has no effect with front_end: embedding, only with convolution"),
        ("model: {residual: true}", "model.residual: has no effect with num_layers: 1, only with 2 or more"),
        ("model: {output: sum}", "model.output: has no effect with num_layers: 1, only with 2 or more"),
        ("model: {hidden_dropout: 0.2}", "model.hidden_dropout: has no effect with num_layers: 1, only with 2 or more"),
        ("model: {num_layers: 2, residual: true, output: sum}", "model.output: has no effect with residual: true"),
        ("model: {front_end: one_hot, input_dropout: 0.2}", "model.input_dropout: has no effect with front_end: one_h"),
        ("model: {cell: esn, weight_drop: 0.2}", "model.weight_drop: does not work with cell: esn, whose recurrent"),
        (
            "model: {front_end: one_hot, tie_weights: true}",
            "has no effect with front_end: one_hot, only with embedding",
        ),
        ("model: {cell: esn, zoneout_h: 0.2}", "model.zoneout_h: does not work with cell: esn, whose recurrent"),
        (
            "model: {cell: esn, state_dropout: 0.2}",
            "model.state_dropout: does not work with cell: esn, whose recurrent",
        ),
        ("model: {cell: gru, zoneout_c: 0.2}", "model.zoneout_c: has no effect with cell: gru, only with capped, co"),
        ("model: {direction: bidirectional, tie_weights: true}", "does not work with direction: bidirectional"),
        ("model: {tie_weights: true, embedding_size: 64}", "embedding_size: expected hidden_size, 256, since tie_weig"),
        (
            "model: {cell: esn}\ntraining: {activation_regularization: 2}",
            "training.activation_regularization: has no effect with model.cell: esn, whose outputs are not trained",
        ),
        (
            "model: {cell: esn}\ntraining: {temporal_activation_regularization: 1}",
            "training.temporal_activation_regularization: has no effect with model.cell: esn",
        ),
        ("model: {front_end: convolution, kernel_sizes: [2, 2]}", "expected each size once, found 2, 2"),
        ("model: {front_end: convolution, kernel_sizes: []}", "expected list of whole numbers from 1 to 64, found a l"),
        ("model: {front_end: convolution, kernel_sizes: 3}", "from 1 to 64, found 3. Write [3]"),
        ("model: {front_end: convolution, kernel_sizes: [65]}", "model.kernel_sizes.0: input should be less than or e"),
        ("model: {cell: lstm, reset_after: true}", "has no effect with cell: lstm, only with gru"),
    ],
)
def test_one_problem_gives_one_line(errors: Any, text: str, expected: str) -> None:
    lines = errors(f"corpus: {{source: a}}\n{text}")
    assert lines[0].startswith("x.yaml:")
    assert expected in lines[0]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("{}", "x.yaml:1: corpus.source: missing, and it has no default. The text to train on"),
        ("{source: 3}", "corpus.source: expected text or a list of texts; the value is 3"),
        ("{source: [a, no, 3]}", "item 3 of the list is 3"),
        ("{source: []}", "the list of texts is empty"),
        ('{source: " "}', "is empty"),
        ('{source: "a\\0b"}', "NUL"),
        ("{source: a, encoding: utf-9}", "'utf-9' is not a text encoding of Python"),
        ("{source: a, encoding: base64}", "not a text encoding"),
        ('{source: a, encoding: "a\\0"}', "not a text encoding"),
        ("{source: a, validation_fraction: -1}", "expected number >= 0 and < 1, found -1"),
        ("{source: a, validation_fraction: 0, validation: files}", "corpus.validation: has no effect with"),
        ("{source: a, validation_fraction: 0.5, test_fraction: 0.5}", "must sum to less than 1"),
        ("{source: a, test_fraction: 0.9}", "corpus.test_fraction: no text is left to train on"),
        ('{source: a, documents: ""}', "corpus.documents"),
        ("{source: a, documents: true}", "corpus.documents: expected newline | blank_line | separating text"),
        ("{source: a, shuffle_documents: true}", "corpus.shuffle_documents: has no effect on one running text"),
        ("{source: a, documents: null, shuffle_documents: false}", "only with documents"),
    ],
)
def test_corpus_errors(errors: Any, corpus: str, expected: str) -> None:
    (line,) = errors(f"corpus: {corpus}")
    assert expected in line


def test_missing_section_names_the_file(errors: Any) -> None:
    assert errors("name: a")[0].startswith("x.yaml: corpus: missing")


@pytest.mark.parametrize("cell", CELL_OPTIONS)
def test_cells_accept_their_options_only(cell: str) -> None:
    values: dict[str, Any] = {
        "forget_bias": 2.0,
        "chrono_length": 7,
        "reset_after": False,
        "nonlinearity": "relu",
        "ablate": "output_gate",
        "learn_leak": False,
        "leak_rate": 0.5,
        "spectral_radius": 0.8,
        "input_scaling": 0.2,
        "density": 0.5,
        "washout": 3,
        "identity_scale": 0.1,
        "recurrent_init": "orthogonal",
    }
    required = {"chrono_length": {"forget_bias": "chrono"}, "identity_scale": {"nonlinearity": "relu"}}
    assert frozenset(values) == frozenset().union(*CELL_OPTIONS.values())
    for option, value in values.items():
        others = required.get(option, {}) if option in CELL_OPTIONS[cell] else {}
        config = minimal(cell=cell, **others, **{option: value})
        if option in CELL_OPTIONS[cell]:
            assert getattr(parse_config(config, "here").model, option) == value
        else:
            with pytest.raises(UserError, match=f"here: model.{option}: has no effect with cell: {cell}"):
                parse_config(config, "here")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, {"forget_bias": None, "ablate": None}),
        ({"cell": "lstm", "ablate": "input_gate", "forget_bias": 1}, {"forget_bias": 1.0}),
        ({"cell": "lstm", "forget_bias": "chrono"}, {"forget_bias": "chrono", "chrono_length": 100}),
        ({"cell": "gru", "forget_bias": "chrono", "chrono_length": 20}, {"chrono_length": 20}),
        ({"cell": "gru"}, {"forget_bias": None}),
        ({"cell": "rnn"}, {"identity_scale": None}),
        ({"cell": "rnn", "nonlinearity": "relu"}, {"identity_scale": 1.0}),
        ({"cell": "gru", "forget_bias": -1}, {"forget_bias": -1.0}),
        ({"init_range": 0.08}, {"forget_bias": None, "init_range": 0.08}),
        ({"init_range": 0.08, "forget_bias": 1}, {"forget_bias": 1.0}),
        ({"init_range": None, "forget_bias": None}, {"forget_bias": None, "init_range": None}),
        ({"cell": "rnn", "nonlinearity": "relu", "init_range": 1}, {"identity_scale": 1.0}),
        ({"cell": "leaky"}, {"leak_rate": [0.05, 1.0], "learn_leak": True, "front_end": "embedding"}),
        ({"cell": "leaky", "learn_leak": False, "leak_rate": 1}, {"leak_rate": 1.0}),
        ({"cell": "esn"}, {"front_end": "one_hot", "embedding_size": None, "leak_rate": 1.0, "spectral_radius": 0.95}),
        ({"cell": "esn", "front_end": "one_hot", "density": 1}, {"density": 1.0, "input_scaling": 1.0, "washout": 0}),
        ({"cell": "esn", "leak_rate": [0.1, 0.1], "washout": 63}, {"leak_rate": [0.1, 0.1], "washout": 63}),
    ],
    ids=str,
)
def test_omitted_options_take_the_default_of_the_cell(
    write: Any, model: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = parse_config(minimal(**model), "here")
    assert {name: getattr(config.model, name) for name in expected} == expected
    assert load_config(write(dump_yaml(config))) == config


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "{ablate: forget_gate, forget_bias: 2}",
            "model.forget_bias: has no effect with cell: lstm and ablate: forget",
        ),
        ("{chrono_length: 9}", "model.chrono_length: has no effect without forget_bias: chrono. Remove it"),
        ("{forget_bias: chrono, chrono_length: 2}", "model.chrono_length: expected whole number >= 3"),
        (
            "{forget_bias: crono}",
            'model.forget_bias: expected number >= -1000 and <= 1000 | chrono | null, found "crono"',
        ),
        ("{ablate: gate}", "model.ablate: expected forget_gate | input_gate | output_gate | input_activation |"),
        ("{cell: leaky, leak_rate: 0}", "model.leak_rate: expected number from 1e-6 to 1 | [smallest, largest]"),
        ("{cell: leaky, leak_rate: [0.5]}", "model.leak_rate: expected number from 1e-6 to 1 | [smallest, largest]"),
        ("{cell: leaky, leak_rate: [0.5, 0.1]}", "model.leak_rate: expected [smallest, largest], found [0.5, 0.1]"),
        ("{cell: esn, front_end: embedding}", "model.front_end: cell: esn trains only its output layer"),
        ("{cell: esn, embedding_size: 3}", "model.embedding_size: has no effect with front_end: one_hot"),
        ("{cell: esn, washout: 64}", "model.washout: expected a whole number below training.sequence_length, 64"),
        (
            "{cell: esn, init_range: 0.08}",
            "model.init_range: does not work with cell: esn, whose recurrent weights are",
        ),
        ("{init_range: 0}", "model.init_range: expected number > 0 and <= 10 | null"),
        ("{init_range: 0.08, chrono_length: 9}", "model.chrono_length: has no effect without forget_bias: chrono"),
        ("{cell: esn, density: 0}", "model.density: expected number > 0 and <= 1"),
        ("{cell: esn, spectral_radius: -1}", "model.spectral_radius: expected number > 0"),
    ],
)
def test_cell_option_errors(errors: Any, model: str, expected: str) -> None:
    (line,) = errors(f"corpus: {{source: a}}\nmodel: {model}\n")
    assert line.startswith("x.yaml:2: ")
    assert expected in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "x.yaml: the file is empty"),
        ("# only this\n", "the file is empty"),
        ("---\n", "the file is empty"),
        ("- a\n", "x.yaml:1: expected sections"),
        ("just text", "x.yaml:1: expected sections"),
        ("a: 1\nb:\n\tc: 1\n", "x.yaml:3: YAML does not allow a tab"),
        ("a: 1\nb: [1\n", "x.yaml:3: not valid YAML: expected ',' or ']'"),
        ("a: b: c\n", "x.yaml:1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n b: 2\n", "x.yaml:2: not valid YAML"),
        (
            "a: 1\nb: *.txt\n",
            "x.yaml:2: not valid YAML: expected alphabetic or numeric character, but found '.'",
        ),
        ("a: 'x\n", "not valid YAML: found unexpected end of stream"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "x.yaml:2: not valid YAML: an escape or a number that is out of range"),
        ("a: 1\nb: \x07\n", "x.yaml:2: the character U+0007 is not allowed"),
        ("%YAML 2.0\n---\na: 1\n", "x.yaml:1: not valid YAML"),
        (f"%YAML {'1' * 5000}.1\n---\na: 1\n", "x.yaml:1: not valid YAML"),
        ("a: 1\n---\nb: 1\n", "x.yaml:2: a second document"),
        ("? [a, b]\n: 1\n", "x.yaml:1: a key must be plain text"),
        ("a: " + "[" * 100_000, "x.yaml:1: nested more than 20 deep"),
        ("a: " + "{a: " * 100_000, "x.yaml:1: nested more than 20 deep"),
        ("- " * 100_000, "x.yaml:1: nested more than 20 deep"),
        (b"a: 1\nb: \xff\n", "x.yaml:2: not UTF-8 text (byte 0xff)"),
        ("a: 1".encode("utf-16"), "x.yaml:1: not UTF-8 text"),
        (b"a: 1\n" * 300_000, "longer than"),
    ],
)
def test_invalid_files(errors: Any, content: str | bytes, expected: str) -> None:
    (line,) = errors(content)
    assert line.startswith("x.yaml")
    assert expected in line


def test_tags_anchors_and_aliases_are_errors(errors: Any) -> None:
    lines = errors(
        "corpus: &c\n  source: a\nname: !!python/object/apply:os.getcwd []\n"
        "model:\n  cell: !!str lstm\n  executor: *c\n  num_layers: !mine 3\n"
    )
    expected = [
        (1, "corpus: &c is a YAML anchor"),
        (3, "name: !!python/object/apply:os.getcwd is a YAML tag"),
        (5, "model.cell: !!str is a YAML tag"),
        (6, "model.executor: *c is a YAML alias"),
        (7, "model.num_layers: !mine is a YAML tag"),
    ]
    assert [line.partition(",")[0] for line in lines] == [f"x.yaml:{n}: {text}" for n, text in expected]


def test_billion_laughs_file_is_an_error(errors: Any) -> None:
    rows = ["a0: &a0 [ha]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert errors("\n".join(rows))[1].startswith("x.yaml:1: a0: &a0 is a YAML anchor")


def test_duplicate_key_error_names_both_lines(errors: Any) -> None:
    lines = errors("corpus:\n  source: a\nmodel:\n  dropout: 0.1\n  cell: rnn\n  dropout: 0.2\nmodel: {}\n")
    assert lines == [
        "x.yaml:6: model.dropout: duplicate key, first on line 4",
        "x.yaml:7: model: duplicate key, first on line 3",
    ]


def test_errors_are_ordered_by_line_then_override(errors: Any) -> None:
    lines = errors(
        "model:\n  cell: lsmt\n  dropout: 1\n  dropout: 1\n  num_layers: 1\ntraining:\n  gamma: x\n",
        "model.num_layers=0",
        "nonsense",
    )
    locations = [re.match(r"x\.yaml(:\d+)?|--set \S+", line) for line in lines]
    assert [location and location.group() for location in locations] == [
        "x.yaml",
        "x.yaml:2",
        "x.yaml:4",
        "x.yaml:7",
        "--set nonsense:",
        "--set model.num_layers=0:",
    ]
    assert "corpus: missing" in lines[0]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.hidden_size=abc", "--set model.hidden_size=abc: expected whole number >= 1 and <= 65536"),
        ("model.hiden_size=3", "--set model.hiden_size=3: unknown field. Did you mean hidden_size?"),
        ("hidden_size=3", "--set hidden_size=3: unknown field. hidden_size belongs under model"),
        ("model.cell.x=3", "--set model.cell.x=3: model.cell is not a section: it has no field x"),
        ("model.hidden_size", "--set model.hidden_size: write it as section.field=value"),
        ("=3", "--set =3: write it as section.field=value"),
        ("model..cell=3", "write it as section.field=value"),
        (".".join("a" * 9999) + "=3", "write it as section.field=value"),
        ("model=3", "--set model=3: expected a section with cell,"),
        ("model={cell: rnm}", "--set model={cell: rnm}: model.cell: expected capped | coupled | esn"),
        ("corpus.source=*.txt", "--set corpus.source=*.txt: not valid YAML"),
        ("corpus.source=*txt", "--set corpus.source=*txt: *txt is a YAML alias"),
        ("corpus.source=[a", "--set corpus.source=[a: not valid YAML"),
        ("name=\udce4", "--set name=\\udce4: the character U+DCE4 is not allowed"),
        ("na\udce4me=x", "write it as section.field=value"),
        ("name=\x1b[31m", "--set name=\\x1b[31m: the character U+001B is not allowed"),
        ("training.learning_rate=", "found null"),
        ("training.budget.steps=null", "training.budget: training would never end"),
    ],
)
def test_override_errors_show_the_override(errors: Any, override: str, expected: str) -> None:
    (line,) = errors("corpus: {source: a}\nmodel: {cell: lstm}\ntraining: {budget: {steps: 3}}", override)
    assert line.startswith("--set ")
    assert expected in line


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("model", "without: forget_gate", "Did you mean ablate?"),
        ("training", "hidden_input: 0.2", "Did you mean input_masking?"),
        ("training", "budget: {steps: 3, nats: 1.5}", "training.budget.nats: unknown field. Did you mean target_nats?"),
        ("model", "executor: sequence", 'found "sequence". Did you mean eager?'),
        ("model", "executor: library", 'found "library". Did you mean vendor?'),
        ("model", "executor: native", 'found "native". Did you mean cpp?'),
    ],
)
def test_old_names_suggest_the_new_names(errors: Any, section: str, old: str, new: str) -> None:
    (line,) = errors(f"corpus: {{source: a}}\n{section}:\n  {old}\n")
    assert line.startswith("x.yaml:3: ")
    assert new in line


@pytest.mark.parametrize(
    ("override", "new"),
    [
        ("solved=0.9", "Did you mean solve_threshold?"),
        ("most_seeds=0.9", "Did you mean min_seed_fraction?"),
        ("experiments.text.kept=[1]", "Did you mean context_lengths?"),
        ("experiments.text.shown_arms=[]", "Did you mean gate_arms?"),
        ("experiments.text.corpus.scored_after==", "Did you mean score_after?"),
        ("experiments.recall.claims=[{say: x, metric: y, arm: lstm, at_most: 1}]", "Did you mean statement?"),
        ("experiments.recall.claims=[{statement: x, figure: y, arm: lstm, at_most: 1}]", "Did you mean metric?"),
    ],
)
def test_old_memory_names_suggest_the_new_names(override: str, new: str) -> None:
    with pytest.raises(UserError) as caught:
        load_comparison(LONG_TERM_MEMORY, [override])
    assert new in str(caught.value)


def test_memory_experiments_refuse_sampled_evaluations() -> None:
    with pytest.raises(UserError, match=r"training\.evaluation_characters: has no effect: .* whole splits"):
        load_comparison(LONG_TERM_MEMORY, ["shared.training.evaluation_characters=5000"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shared.training.seed=7", "training.seed: has no effect: that of a run is from first_seed. Remove it"),
        (
            "arms.lstm.training.learning_rate=1e-3",
            "training.learning_rate: has no effect: that of a run is from learning_",
        ),
        ("shared.corpus.lowercase=true", "corpus: has no effect: the text is from the experiment. Remove it"),
    ],
)
def test_what_a_memory_comparison_sets_itself_is_an_error(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_comparison(LONG_TERM_MEMORY, [override])


def test_override_replaces_an_invalid_value(write: Any) -> None:
    assert load_config(write("corpus: {source: 3}"), ["corpus.source=a"]).corpus.source == "a"


def test_missing_file_error_suggests_a_similar_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(FULL)
    with pytest.raises(UserError, match=r"there is no such file\. Did you mean .*/quickstart\.yaml\?"):
        load_config(tmp_path / "quikstart.yaml")
    with pytest.raises(UserError, match=r"Did you mean .*/quickstart\.yaml\?"):
        load_config(tmp_path / "quickstart")
    with pytest.raises(UserError, match="there is no such file"):
        load_config(tmp_path / "nowhere" / "x.yaml")
    with pytest.raises(UserError, match="this is a folder"):
        load_config(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path / "quickstart.yaml" / "x")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path / "a\0b")


def test_errors_in_plain_data_name_its_source() -> None:
    with pytest.raises(UserError) as caught:
        parse_config({"corpus": {"source": "a", 3: 4}, "model": {"hidden_size": "3"}}, "checkpoint last")
    first, second = str(caught.value).splitlines()
    assert first.startswith("checkpoint last: corpus.3: unknown field")
    assert second.startswith("checkpoint last: model.hidden_size: expected whole number")


def test_errors_contain_no_control_characters(errors: Any) -> None:
    lines = errors('corpus: {source: a}\n"\\e[31mred\\n": 1\nmodel: {cell: "\\e[2J"}\n')
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 2


# --- writing


@pytest.mark.parametrize(
    ("cell", "front_end"),
    [(c, end) for c in CELL_OPTIONS for end in ("one_hot", "embedding", "convolution")[: 1 if c == "esn" else 3]],
)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_written_config_reads_back_equal(write: Any, cell: str, front_end: str, num_layers: int) -> None:
    config = parse_config(minimal(cell=cell, front_end=front_end, num_layers=num_layers), "here")
    assert load_config(write(dump_yaml(config))) == config
    assert parse_config(config.model_dump(), "here") == config
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_fields_are_written_in_declared_order(write: Any) -> None:
    written = yaml.safe_load(dump_yaml(load_config(write(FULL))))
    assert list(written) == ["name", "corpus", "model", "training"]
    assert list(written["model"]) == [name for name in ModelConfig.model_fields if name in written["model"]]
    assert not {"leak_rate", "nonlinearity"} & set(written["model"])


@pytest.mark.parametrize("corpus", ["{source: a}", '{source: a, documents: "\\n%\\n", shuffle_documents: false}'])
def test_written_document_options_read_back_equal(write: Any, corpus: str) -> None:
    config = load_config(write(f"corpus: {corpus}"))
    assert load_config(write(dump_yaml(config))) == config
    assert ("shuffle_documents" in config.corpus.model_dump()) == (config.corpus.documents == "\n%\n")
    assert config.corpus.shuffle_documents == (config.corpus.documents is None)


@pytest.mark.parametrize(
    "characters",
    ["", "123", " !?", "~", "\0\t\n\r\x1b\x85\u2028\ufeff\U0010fffd", "".join(map(chr, range(256))), "寒a\"'\\é"],
)
def test_written_characters_read_back_equal(write: Any, characters: str) -> None:
    config = parse_config({"corpus": {"source": "a", "characters": characters + characters[::-1]}}, "here")
    assert config.corpus.characters == "".join(sorted(characters))
    assert load_config(write(dump_yaml(config))) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"characters": "\ud800"}, "expected text"),
        ({"characters": "aé寒", "encoding": "bytes"}, "expected characters that stand for bytes, found '寒'"),
        ({"characters": 12}, r"expected text \| null, found 12. Put it in quotes"),
    ],
)
def test_impossible_characters_are_an_error(fields: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"corpus\.characters: .*{message}"):
        parse_config({"corpus": {"source": "a", **fields}}, "here")


def test_longest_vocabulary_fits_into_a_configuration_file(write: Any) -> None:
    characters = "".join(map(chr, range(0x20000, 0x20000 + MAX_CHARACTERS)))
    config = parse_config({"corpus": {"source": "a", "characters": characters}}, "here")
    assert load_config(write(dump_yaml(config))) == config


TRAPS = "no 1e-4 010 0x1 1:30 ~ null true .inf *x # é/ü.txt"
TEXTS = st.one_of(
    st.sampled_from([*TRAPS.split(), "- a", "a: b"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip),
)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)),
    rate=st.floats(1e-300, 1e6),
    data=st.data(),
)
def test_any_text_and_number_survive_a_round_trip(write: Any, source: Any, rate: float, data: Any) -> None:
    config = parse_config(
        {
            "name": data.draw(st.sampled_from([None, "no", "1e-4", "null", "ü"])),
            "corpus": {"source": source},
            "training": {"learning_rate": rate, "seed": data.draw(st.integers(0, 2**32 - 1))},
        },
        "here",
    )
    text = dump_yaml(config)
    assert load_config(write(text)) == config
    assert yaml.safe_load(text)["corpus"]["source"] == source


# --- no exception but UserError

TOKENS = ": - [ ] { } &a *a !!int !x | > ' \" # ? % ~ no 1e-4 1e999 .nan \\ \\x \\ud800 0 -1 é"
PIECES = st.sampled_from([*TOKENS.split(), " ", "\n", "  ", "\t", "- ", "<<: ", "---\n", "...\n", "\u2028", "\ufeff"])


def mutate(text: str, edits: list[tuple[int, int, str]]) -> str:
    for at, length, piece in edits:
        start = at % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    return text


def load_or_error(load: Any, *arguments: Any) -> Any:
    """The loaded object, or the text of the UserError; any other exception is raised."""
    try:
        return load(*arguments)
    except UserError as error:
        return str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from([(FULL, load_config, Config), (COMPARE, load_comparison, CompareConfig)]),
    edits=st.lists(
        st.tuples(st.integers(0, 999), st.integers(0, 12), st.one_of(PIECES, st.text(max_size=3))), max_size=6
    ),
    junk=st.binary(max_size=2),
)
def test_damaged_file_is_a_config_or_a_user_error(write: Any, which: Any, edits: Any, junk: bytes) -> None:
    text, load, model = which
    path = write(mutate(text, edits).encode("utf-8", "surrogatepass") + junk)
    result = load_or_error(load, path)
    if isinstance(result, CompareConfig):
        assert all(result.arm_config(arm, result.seeds - 1) for arm in result.arms)
    assert isinstance(result, model) or all(line.startswith(str(path)) for line in result.splitlines())
    with mock.patch.object(yaml, "CSafeLoader", None):
        assert load_or_error(load, path) == result, "it depends on libyaml"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([".".join(path) for path, _ in iter_fields(Config)] + ["model", "training.budget", "", "x.y"]),
    value=st.one_of(PIECES, st.text(max_size=8), st.integers().map(str), st.floats().map(str)),
)
def test_any_override_is_a_config_or_a_user_error(write: Any, path: str, value: str) -> None:
    result = load_or_error(load_config, write(FULL), [f"{path}={value}"])
    assert isinstance(result, Config) or "--set" in result


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("model: {recurrent_init: uniform}", " (after --set model.cell=esn)"),
        ("model: {hidden_dropout: 0.2}", "only with 2 or more. Remove it"),
        ("training: {schedule: plateau}", " (after --set corpus.validation_fraction=0)"),
    ],
)
def test_problem_of_a_line_names_the_override_that_causes_it(write: Any, text: str, end: str) -> None:
    path = write(f"corpus: {{source: a}}\n{text}\n")
    overrides = ["model.cell=esn", "training.seed=3", "corpus.validation_fraction=0"]
    error = load_or_error(load_config, path, overrides)
    assert error.startswith(f"{path}:2: ")
    assert error.endswith(end)


@pytest.mark.parametrize("value", ["---", "###", "#5", "Q #1", "?", "|", "- ", "Q: #"])
def test_signs_that_yaml_takes_for_its_own_are_an_error_that_quotes_them(write: Any, value: str) -> None:
    path = write("corpus: {source: a, documents: newline}\n")
    error = load_or_error(load_config, path, [f"corpus.score_after={value}"])
    assert error.startswith(f"--set corpus.score_after={value.rstrip()}")
    quoted = error.partition(", --set '")[2][:-1]
    assert load_config(path, [quoted]).corpus.score_after == value


@pytest.mark.parametrize(
    ("value", "expected"), [("'#'", "#"), ('"a #b"', "a #b"), ("a#b", "a#b"), ("=>", "=>"), ("~", None), ("", None)]
)
def test_other_signs_are_read_as_they_are(write: Any, value: str, expected: str | None) -> None:
    path = write("corpus: {source: a, documents: newline}\n")
    assert load_config(path, [f"corpus.score_after={value}"]).corpus.score_after == expected


# --- comparison files


def test_arms_change_the_shared_settings(write: Any) -> None:
    compare = load_comparison(write(COMPARE))
    assert (compare.match, compare.seeds, list(compare.arms)) == ("width", 2, ["lstm", "rnn", "slow gru"])
    lstm, rnn, gru = (compare.arm_config(arm, 1) for arm in compare.arms)
    assert {config.training.seed for config in (lstm, rnn, gru)} == {8}
    assert {config.training.budget.steps for config in (lstm, rnn, gru)} == {5}
    assert {config.model.hidden_size for config in (lstm, rnn, gru)} == {32}
    assert (lstm.model.cell, lstm.model.forget_bias) == ("lstm", 2.0)
    assert rnn.model.cell == "rnn"
    assert (gru.model.reset_after, gru.training.learning_rate) == (False, 1e-4)
    assert compare.arm_config("rnn", 0).training.seed == 7


def test_shared_options_apply_to_arms_that_have_them(write: Any) -> None:
    compare = load_comparison(
        write(
            "corpus: {source: a}\nmodel: {num_layers: 2, residual: true, front_end: convolution, filters: 9}\n"
            "arms:\n  a: {}\n  b: {model.num_layers: 1}\n  c: {model.front_end: embedding}\n"
        )
    )
    assert [compare.arm_config(arm, 0).model.residual for arm in "abc"] == [True, False, True]
    assert [compare.arm_config(arm, 0).model.filters for arm in "abc"] == [9, 9, 32]


def test_arm_adds_to_and_disables_shared_options(write: Any) -> None:
    compare = load_comparison(
        write(
            "corpus: {source: a}\nmodel: {front_end: embedding, embedding_size: 8}\n"
            "training: {budget: {epochs: 3}}\narms:\n  a: {}\n"
            "  b: {model.front_end: one_hot, training: {budget.steps: 9}, training.clip_grad_norm: null}\n"
        )
    )
    b = compare.arm_config("b", 0)
    assert compare.arm_config("a", 0).model.embedding_size == 8
    assert b.model.embedding_size is None
    assert b.training.clip_grad_norm is None
    assert b.training.budget.model_dump() == {"epochs": 3.0, "steps": 9, "minutes": None, "target_nats": None}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("model.cell: rnn", "model.cel: rnn", "x.yaml:13: arms.rnn.model.cel: unknown field. Did you"),
        ("model.cell: rnn", "cell: rnn", "x.yaml:13: arms.rnn.cell: unknown field. cell belongs under model"),
        ("model.cell: rnn", "model.cell: rrn", "x.yaml:13: arms.rnn.model.cell: expected capped | coupled | esn"),
        ("model.cell: rnn", "corpus.source: b", "x.yaml:13: arms.rnn.corpus.source: all arms share one text"),
        ("model.cell: rnn", "training.seed: 3", "x.yaml:13: arms.rnn.training.seed: all arms share"),
        ("model.cell: rnn", "name: b", "x.yaml:13: arms.rnn.name: the name of an arm is its key"),
        ("model.cell: rnn", "model: 3", "x.yaml:13: arms.rnn.model: expected a section"),
        ("model.cell: rnn", "model: {cell: rnn, reset_after: true}", "rnn.model.reset_after: has no effect"),
        ("model.cell: rnn", "model.cell.x: rnn", "x.yaml:13: arms.rnn.model.cell.x: expected capped | coupled"),
        ("model.cell: rnn", "modle.cell: rnn", "x.yaml:13: arms.rnn.modle.cell: unknown field. Did"),
        ("reset_after: false", "reset_after: 3", "x.yaml:17: arms.slow gru.model.reset_after: expected"),
        ("reset_after: false", "nonlinearity: relu", "x.yaml:17: arms.slow gru.model.nonlinearity: has no"),
        ("  rnn:\n    model.cell: rnn", "  rnn: 3", "x.yaml:12: arms.rnn: expected a mapping of changes"),
        ("  rnn:\n", "  a/b:\n", "x.yaml:12: arms.a/b: a name is used as the name of a folder"),
        ("forget_bias: 2", "nonlinearity: relu\n  x: 2", "x.yaml:6: model.x: unknown field"),
        ("forget_bias: 2", "front_end: one_hot\n  embedding_size: 2", "x.yaml:6: model.embedding_size: has no"),
        ("seed: 7", "seed: 4294967295", "x.yaml:7: training.seed: expected whole number"),
        ("source: a.txt", "source: a.txt\n  validation_fraction: 0", "x.yaml:3: corpus.validation_fraction: arms are"),
        ("seeds: 2", "seeds: 0", "x.yaml:9: seeds: expected whole number >= 1"),
        ("seeds: 2", "match: size", 'x.yaml:9: match: expected parameters | width, found "size"'),
        ("seeds: 2", "sedes: 2", "x.yaml:9: sedes: unknown field. Did you mean seeds?"),
        (COMPARE[COMPARE.index("arms") :], "arms: {a: {}}", "x.yaml:10: arms: a comparison needs a"),
        (COMPARE[COMPARE.index("arms") :], "", "x.yaml: arms: missing"),
    ],
)
def test_comparison_errors_name_the_arm_and_the_line(errors: Any, old: str, new: str, expected: str) -> None:
    assert old in COMPARE
    (line,) = errors(COMPARE.replace(old, new), load=load_comparison)
    assert expected in line


RESERVOIR = """\
corpus: {source: a}
model: {hidden_size: 9, spectral_radius: 0.8, forget_bias: chrono, chrono_length: 9, embedding_size: 5}
training: {sequence_length: 20}
arms:
  echo: {model.cell: esn, model.washout: 19}
  memory: {}
  plain: {model.forget_bias: 2}
  open: {model.ablate: forget_gate}
  leaky: {model.cell: leaky, model.leak_rate: [0.1, 0.5]}
"""


def test_arms_use_shared_options_of_their_cell_only(write: Any) -> None:
    compare = load_comparison(write(RESERVOIR))
    for again in (compare, load_comparison(write(dump_yaml(compare)))):
        echo, memory, plain, opened, leaky = (again.arm_config(arm, 0).model for arm in again.arms)
        assert (echo.front_end, echo.embedding_size, echo.spectral_radius, echo.washout) == ("one_hot", None, 0.8, 19)
        assert (memory.front_end, memory.embedding_size) == ("embedding", 5)
        assert (memory.forget_bias, memory.chrono_length) == ("chrono", 9)
        assert (plain.forget_bias, plain.chrono_length) == (2.0, None)
        assert (opened.ablate, opened.forget_bias, leaky.leak_rate) == ("forget_gate", None, [0.1, 0.5])


def test_shared_init_range_applies_to_arms_with_trained_layers(write: Any) -> None:
    compare = load_comparison(
        write(RESERVOIR.replace("model: {hidden_size: 9,", "model: {hidden_size: 9, init_range: 0.1,"))
    )
    for again in (compare, load_comparison(write(dump_yaml(compare)))):
        models = {arm: again.arm_config(arm, 0).model for arm in again.arms}
        assert [model.init_range for model in models.values()] == [None, 0.1, 0.1, 0.1, 0.1]
        assert (models["memory"].forget_bias, models["plain"].forget_bias) == ("chrono", 2.0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("washout: 19", "washout: 20", "x.yaml:5: arms.echo.model.washout: expected a whole number below training"),
        ("washout: 19", "front_end: embedding", "x.yaml:5: arms.echo.model.front_end: cell: esn trains only"),
        ("hidden_size: 9", "front_end: embedding", "x.yaml:2: model.front_end: cell: esn trains only"),
        (
            "model.leak_rate: [0.1, 0.5]",
            "model.density: 0.5",
            "x.yaml:9: arms.leaky.model.density: has no effect with cell: leaky",
        ),
    ],
)
def test_reservoir_errors_in_an_arm(errors: Any, old: str, new: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in errors(RESERVOIR.replace(old, new), load=load_comparison))


@pytest.mark.parametrize(
    ("model", "culprit"),
    [
        ("{}", "cell: lstm"),
        ("{cell: rnn, nonlinearity: relu}", "nonlinearity: relu"),
        ("{cell: rnn, num_layers: 2}", "num_layers: 2"),
        ("{cell: rnn, direction: bidirectional}", "direction: bidirectional"),
    ],
)
def test_vanishing_penalty_needs_a_one_layer_tanh_rnn(errors: Any, write: Any, model: str, culprit: str) -> None:
    text = f"corpus: {{source: a}}\nmodel: {model}\ntraining:\n  vanishing_penalty: 2\n"
    (line,) = errors(text)
    assert line.startswith(f"x.yaml:4: training.vanishing_penalty: does not work with model.{culprit}, only with one")
    assert load_config(write(text.replace("penalty: 2", "penalty: 0"))).training.vanishing_penalty == 0
    fitting = text.replace(model, "{cell: rnn, direction: backward}")
    assert load_config(write(fitting)).training.vanishing_penalty == 2


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        (
            "training: {sequence_length_std: 5}, corpus: {source: a, documents: newline}",
            "sequence_length_std: does not",
        ),
        (
            "training: {sequence_length_std: 5}, corpus: {source: a, validation: blocks}",
            "sequence_length_std: does not",
        ),
        ("training: {sequence_length_std: 17}, corpus: {source: a}", "sequence_length_std: expected at most a quarter"),
        (
            "training: {learning_rate_factors: {front_end: 2}}, corpus: {source: a}, model: {front_end: one_hot}",
            "learning_rate_factors.front_end: has no effect with model.front_end: one_hot",
        ),
        (
            "training: {learning_rate_factors: {recurrent: 2}}, corpus: {source: a}, model: {cell: esn}",
            "learning_rate_factors.recurrent: has no effect with model.cell: esn",
        ),
        (
            "training: {learning_rate_factors: {hed: 2}}, corpus: {source: a}",
            "learning_rate_factors.hed: unknown field. Did you mean head?",
        ),
        ("training: {averaging_decay: 1}, corpus: {source: a}", "averaging_decay: expected number > 0 and < 1"),
    ],
)
def test_training_option_without_effect_is_an_error(errors: Any, settings: str, start: str) -> None:
    (line,) = errors(f"{{{settings}}}")
    assert line.startswith(f"x.yaml:1: training.{start}")


def test_vanishing_penalty_in_comparison_arms(errors: Any, write: Any) -> None:
    text = "corpus: {source: a}\narms:\n  lstm: {}\n  rnn: {model.cell: rnn}\n  rescued:\n    model.cell: rnn\n"
    text += "    training.vanishing_penalty: 2\n"
    arms = load_comparison(write(text))
    assert [arms.arm_config(arm, 0).training.vanishing_penalty for arm in arms.arms] == [0, 0, 2]
    assert errors(text.replace("lstm: {}", "lstm: {training.vanishing_penalty: 2}"), load=load_comparison)[
        0
    ].startswith("x.yaml:3: arms.lstm.training.vanishing_penalty: does not work with model.cell: lstm")
    shared = text.replace("arms:", "training: {vanishing_penalty: 2}\narms:")
    assert errors(shared, load=load_comparison)[0].startswith(
        "x.yaml:2: training.vanishing_penalty: does not work with"
    )


def test_empty_section_in_an_arm_changes_nothing(write: Any) -> None:
    compare = load_comparison(write(COMPARE.replace("model.cell: rnn", "training:\n    model: {cell: rnn}")))
    assert compare.arm_config("rnn", 0).training.budget.steps == 5


def test_option_set_twice_in_an_arm_is_an_error(errors: Any) -> None:
    text = COMPARE.replace("    training.learning_rate: 1e-4", "    model.cell: gru")
    assert errors(text, load=load_comparison) == ["x.yaml:18: arms.slow gru.model.cell: set twice"]


def test_match_parameters_allows_size_in_first_arm_only(errors: Any, write: Any) -> None:
    text = COMPARE.replace("seeds: 2", "match: parameters").replace("lstm:", "lstm: {model.hidden_size: 64}")
    assert load_comparison(write(text)).arm_config("lstm", 0).model.hidden_size == 64
    text = text.replace("model.cell: rnn", "model: {cell: rnn, hidden_size: 9}")
    (line,) = errors(text, load=load_comparison)
    assert line.startswith("x.yaml:13: arms.rnn.model.hidden_size: match: parameters chooses this value")


def test_overrides_apply_to_comparisons(errors: Any, write: Any) -> None:
    assert load_comparison(write(COMPARE), ["seeds=5", "arms.rnn={model.cell: coupled}"]).seeds == 5
    (line,) = errors(COMPARE, "arms.rnn={model.cell: rrn}", load=load_comparison)
    assert line.startswith("--set arms.rnn={model.cell: rrn}: arms.rnn.model.cell: expected capped | coupled")


def test_unknown_arm_and_seed_are_errors(write: Any) -> None:
    compare = load_comparison(write(COMPARE))
    with pytest.raises(UserError, match=r"there is no arm lsmt\. Did you mean lstm"):
        compare.arm_config("lsmt", 0)
    with pytest.raises(ValueError, match="seed index 2"):
        compare.arm_config("lstm", 2)


def test_comparison_survives_a_round_trip(write: Any) -> None:
    compare = load_comparison(write(COMPARE))
    again = load_comparison(write(dump_yaml(compare)))
    assert again == compare
    assert [again.arm_config(arm, 0) for arm in again.arms] == [compare.arm_config(arm, 0) for arm in compare.arms]


def test_validate_accepts_any_model() -> None:
    class Other(pydantic.BaseModel):
        size: int = pydantic.Field(1, ge=1)

    document = Document("other.yaml", {"size": 0}, {("size",): 4})
    with pytest.raises(UserError, match=r"^other\.yaml:4: size: expected whole number >= 1, found 0$"):
        validate(Other, document)
    assert validate(Other, document, ["size=2"]).size == 2


# --- documentation


def test_every_field_is_documented() -> None:
    docs = {doc.path: doc for doc in describe_fields()}
    assert list(docs)[:3] == ["name", "corpus.source", "corpus.encoding"]
    assert all(len(doc.documentation) > 15 and doc.type for doc in docs.values())
    assert docs["corpus.source"].default == "required"
    assert docs["training.budget.epochs"].default == "10"
    assert docs["training.learning_rate"].default == "0.002"
    assert docs["model.cell"].type == "capped | coupled | esn | gru | leaky | lstm | peephole | rnn"
    assert docs["model.forget_bias"].type == "number >= -1000 and <= 1000 | chrono | null"
    assert (docs["model.forget_bias"].default, docs["model.leak_rate"].default) == ("null", "null")
    assert docs["training.early_stopping"].type == "whole number >= 1 | null"
    assert all(doc.documentation for doc in describe_fields(CompareConfig))


@pytest.mark.parametrize(("field", "text"), [("learning_rates", "list of numbers"), ("quick", "list of texts")])
def test_type_of_a_list_names_its_members(field: str, text: str) -> None:
    assert type_text(MemoryConfig.model_fields[field]) == text


def test_documented_defaults_are_the_defaults() -> None:
    config = parse_config(minimal(), "here")
    for doc in describe_fields():
        value: Any = config
        for part in doc.path.split("."):
            value = getattr(value, part)
        if doc.default == "null" and value is not None:  # another field decides
            section, field = doc.path.split(".")
            assert parse_config({**minimal(), section: {field: None}}, "here") == config, doc.path
        elif doc.default != "required":
            assert value == yaml.safe_load(doc.default), doc.path


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def test_json_schema_matches_the_validation() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["corpus"]
    for path, field in iter_fields(Config):
        node = schema
        for part in path:
            assert node["additionalProperties"] is False
            node = resolved(schema, node["properties"][part])
        assert node["description"] == field.description
    parts = ("corpus", "model", "training")
    sections = {name: resolved(schema, schema["properties"][name])["properties"] for name in parts}
    assert sections["model"]["cell"]["enum"] == list(CELL_OPTIONS)
    assert sections["model"]["hidden_size"]["minimum"] == 1
    assert sections["model"]["dropout"]["exclusiveMaximum"] == 1
    assert {kind["type"] for kind in sections["corpus"]["source"]["anyOf"]} == {"string", "array"}
    pattern = sections["training"]["device"]["pattern"]
    assert all(re.search(pattern, device) for device in ("auto", "cpu", "cuda", "cuda:12", "mps"))
    assert not any(re.search(pattern, device) for device in ("gpu", "cuda:", "cuda:x", "cpu0"))


@pytest.mark.parametrize(
    ("load", "text", "expected"),
    [
        (load_config, "space: {model.cell: [lstm]}", "is a sweep. To run it:  charlstm sweep x.yaml"),
        (load_config, "arms: {}", "is a comparison. To run it:  charlstm compare x.yaml"),
        (load_config, "experiments: {}", "is a comparison. To run it:  charlstm compare x.yaml"),
        (load_comparison, "space: {}", "is a sweep. To run it:  charlstm sweep x.yaml"),
        (load_comparison, FULL, "has no arms: it is the configuration of a run. To run it:  charlstm train x.yaml"),
        (load_sweep, FULL, "has no space: it is the configuration of a run. To run it:  charlstm train x.yaml"),
        (load_sweep, "arms: {}", "is a comparison. To run it:  charlstm compare x.yaml"),
    ],
)
def test_configuration_of_another_command_names_that_command(errors: Any, load: Any, text: str, expected: str) -> None:
    assert errors(text, load=load) == [f"x.yaml {expected}"]
