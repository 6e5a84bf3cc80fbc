"""A session has the state after its text, whatever was appended and rewound before."""

from __future__ import annotations

import pytest
import torch
from test_generation_sampler import CONVOLUTION, VOCABULARY, make_model

from charlstm.errors import UserError
from charlstm.generation import Sampling, TextRequest, generate
from charlstm.generation.session import SPACING, Session, characters
from charlstm.text.vocabulary import Vocabulary

TEXT = ("abc fgh ab\ncab " * 20)[:300]
GREEDY = Sampling(0.0)


@pytest.fixture(scope="module")
def model():
    return make_model()


def session_of(model, text="", *, vocabulary=VOCABULARY, **options):
    session = Session(model, vocabulary, **options)
    session.accept(session.encode(text))
    return session


def texts(session, count=3, length=20, number=0):
    return [
        "".join(c.text for c in continuation.characters)
        for continuation in session.continuations(count, length, number)
    ]


def assert_same_state(session, other):
    assert session.text == other.text
    for (symbol, p), (other_symbol, q) in zip(session.next_probabilities(4), other.next_probabilities(4), strict=True):
        assert symbol == other_symbol
        assert p == pytest.approx(q, rel=1e-4)


def test_continuation_is_what_the_sampler_writes(model):
    (sample,) = generate(model, VOCABULARY, TextRequest(TEXT, 20), GREEDY)
    assert texts(session_of(model, TEXT, sampling=GREEDY)) == [sample.text]


@pytest.mark.parametrize("options", [{}, CONVOLUTION], ids=["one-hot", "convolution"])
@pytest.mark.parametrize("count", [0, 1, SPACING - 1, SPACING, SPACING + 1, 200, 400])
def test_rewound_session_equals_one_of_the_shorter_text(options, count):
    model = make_model(**options)
    session = session_of(model, TEXT)
    removed = session.rewind(count)
    shorter = TEXT[: max(0, len(TEXT) - count)]
    assert VOCABULARY.decode(removed) == TEXT[len(shorter) :]
    assert_same_state(session, session_of(model, shorter))
    session.accept(removed)
    assert_same_state(session, session_of(model, TEXT))


def test_long_texts_take_no_longer(model, monkeypatch):
    session, read, encode = session_of(model, TEXT), [], model.encode

    def counting_encode(previous, state):
        read.append(len(previous))
        return encode(previous, state)

    monkeypatch.setattr(model, "encode", counting_encode)
    for size in (1, 1, 70, 1, 1):
        session.rewind(size)
        assert sum(read) < SPACING
        read.clear()
        session.accept(session.encode("a"))
        assert sum(read) == 1
        read.clear()


def test_continuations_depend_on_the_text_seed_and_number_only(model):
    session = session_of(model, TEXT, seed=4)
    first = texts(session)
    assert len(set(first)) == 3
    session.accept(session.encode("abc"))
    assert not set(texts(session)) & set(first)
    session.rewind(3)
    assert texts(session) == first == texts(session_of(model, TEXT, seed=4))
    assert not set(texts(session, number=1)) & set(first)
    assert not set(texts(session_of(model, TEXT, seed=5))) & set(first)


def test_random_numbers_differ_from_position_to_position(model):
    first, second = session_of(model, end="\n"), session_of(model, "ab\n", end="\n")
    assert first.next_probabilities(4) == second.next_probabilities(4)
    assert texts(first) != texts(second)


def test_next_probabilities_are_those_that_are_sampled(model):
    session = session_of(model, TEXT)
    everything = session.next_probabilities(100)
    assert sum(p for _, p in everything) == pytest.approx(1, abs=1e-5)
    assert [p for _, p in everything] == sorted((p for _, p in everything), reverse=True)
    session.sampling = Sampling(0.5, top_k=3)
    sharper = session.next_probabilities(100)
    assert [s for s, _ in sharper] == [s for s, _ in everything[:3]]
    assert sharper[0][1] > everything[0][1]
    assert {text[0] for text in texts(session, 200, 1)} == {s for s, _ in sharper}
    session.sampling = GREEDY
    assert session.next_probabilities(5) == [(everything[0][0], 1.0)]


def test_lead_in_is_read_before_the_text(model):
    lead_ins = [session_of(model).encode(text) for text in ("fgh ab\n", "cab fa\n")]
    session = session_of(model, "abc", lead_ins=lead_ins, seed=3)
    assert session.text == "abc"
    expected, led = session_of(model, "cab fa\nabc"), session
    assert led.next_probabilities(3)[0] == pytest.approx(expected.next_probabilities(3)[0])


@pytest.mark.parametrize("end", ["\n", "b\n", "aa"])
def test_document_starts_from_the_state_of_the_first(model, end):
    session = session_of(model, f"abc fg{end}", end=end)
    fresh = session_of(model, end=end)
    assert session.next_probabilities(4) == fresh.next_probabilities(4)
    session.accept(session.encode("ca"))
    assert session.next_probabilities(4) == session_of(model, "ca", end=end).next_probabilities(4)
    session.rewind(2 + len(end))
    assert_same_state(session, session_of(model, "abc fg"))


def test_separator_does_not_overlap_the_one_before(model):
    session = session_of(model, "abaaaaa", end="aa")  # "abaa", "aa", and the beginning of a third document
    assert session.next_probabilities(4) == session_of(model, "a", end="aa").next_probabilities(4)


@pytest.mark.parametrize("typed", ["", "b"])
def test_continuation_stops_at_the_end_of_the_document(model, typed):
    session = session_of(model, f"abc {typed}", end="b\n")
    ended = [c for c in session.continuations(300, 30) if c.ends]
    assert ended
    for continuation in ended:
        text = "".join(c.text for c in continuation.characters)
        assert f"{typed}{text}".endswith("b\n")
        assert "b\n" not in text[:-1]
        assert "b\n".endswith(continuation.characters[-1].text)
    session.accept([i for c in ended[0].characters for i in c.ids])
    assert session.next_probabilities(4) == session_of(model).next_probabilities(4)


def test_bytes_form_characters():
    vocabulary = Vocabulary.from_text("é€😀a".encode())
    ids = vocabulary.encode("a€é😀").tolist()
    assert [c.text for c in characters(ids, vocabulary)] == ["a", "€", "é", "😀"]
    assert [c.text for c in characters(ids[:-1], vocabulary)] == ["a", "€", "é", "\ufffd"]
    assert [c.text for c in characters(ids[:-1], vocabulary, incomplete=False)] == ["a", "€", "é"]
    assert [i for c in characters(ids, vocabulary) for i in c.ids] == ids
    session = session_of(make_model(vocabulary.size), "a€", vocabulary=vocabulary)
    assert session.unknown_characters("a€xéxy") == ["x", "y"]
    assert all(name == "a" or name.startswith("0x") for name, _ in session.next_probabilities(99))


def test_bytes_of_an_incomplete_character_are_one_and_the_next_begins_anew():
    vocabulary = Vocabulary.from_codes(range(256), "bytes")
    ids = [0xE2, 0xC3, 0xA9, 0xE2, 0x82, ord("a"), 0xE2, 0xFF, 0xF0, 0x9F, 0xE2, 0x82, 0xAC]
    assert characters(ids, vocabulary) == [
        ("\ufffd", ids[:1]),
        ("é", ids[1:3]),
        ("\ufffd", ids[3:5]),
        ("a", ids[5:6]),
        ("\ufffd", ids[6:7]),
        ("\ufffd", ids[7:8]),
        ("\ufffd", ids[8:10]),
        ("€", ids[10:]),
    ]
    assert "".join(c.text for c in characters(ids, vocabulary)) == vocabulary.decode(ids)


def test_unknown_characters_are_named_and_refused(model):
    session = session_of(model, "abc")
    assert session.unknown_characters("a€b😀€") == ["€", "😀"]
    cafe = Vocabulary.from_text("café")
    assert session_of(make_model(cafe.size), vocabulary=cafe).unknown_characters("éa€") == ["€"]
    with pytest.raises(UserError, match="€"):
        session.encode("a€")
    assert session.text == "abc"


def test_exception_of_on_chunk_stops_sampling(model):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    session = session_of(model, "abc")
    before = texts(session)
    with pytest.raises(KeyboardInterrupt):
        session.continuations(2, 50, on_chunk=stop)
    assert (len(calls), texts(session)) == (3, before)


def test_models_that_cannot_continue_are_refused():
    with pytest.raises(UserError, match="direction: backward cannot"):
        Session(make_model(direction="backward"), VOCABULARY)
    broken = make_model()
    with torch.no_grad():
        broken.head.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="NaN"):
        Session(broken, VOCABULARY)
