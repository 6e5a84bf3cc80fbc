"""What the keys of ``charlstm sample --interactive`` do, and what its screen shows."""

from __future__ import annotations

import random
import re

import pytest
import torch

from charlstm.cli.interactive.editor import COUNT, Editor
from charlstm.cli.interactive.keys import Key
from charlstm.cli.interactive.suggestion import Suggestion, last_line, last_word
from charlstm.cli.interactive.view import view
from charlstm.config import ModelConfig
from charlstm.generation import Sampling
from charlstm.generation.session import Character, Session
from charlstm.model import LanguageModel
from charlstm.terminal_layout import text_width
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("abcde ,.\n\x1b春é")
NAMES = ("tab", "right", "line", "down", "up", "left", "undo", "hotter", "cooler", "enter", "backspace", "delete word",
         "delete line", "a", "b ", "春", "€x", "redraw")  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    return LanguageModel(ModelConfig(hidden_size=8, executor="eager"), VOCABULARY.size).eval()


@pytest.fixture
def make_editor(model):
    def make(text="", end="", length=12, temperature=1.0, **options):
        session = Session(model, VOCABULARY, Sampling(temperature), 5, end=end)
        session.accept(session.encode(text))
        editor = Editor(session, length=length, **options)
        editor.suggest()
        return editor

    return make


def press(editor, *names):
    for name in names:
        editor.press(Key("text", name) if len(name) < 3 and name != "up" else Key(name))
        editor.suggest()


def text_and_suggestion(editor):
    return editor.session.text + editor.suggestion.text


def shown(editor, columns=60, rows=14, encodable=str):
    screen = view(editor, columns, rows, encodable)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in screen.rows]
    assert len(plain) == rows
    assert all(text_width(row) <= columns for row in plain)
    assert screen.cursor[0] < rows
    assert screen.cursor[1] < columns
    assert not any("\x1b" in row for row in plain)
    return plain, screen.cursor


@pytest.mark.parametrize("name", ["tab", "right", "line"])
def test_what_is_taken_was_suggested(make_editor, name):
    editor = make_editor("ab")
    before, suggested = editor.session.text, editor.suggestion.text
    press(editor, name)
    taken = editor.session.text.removeprefix(before)
    assert taken
    assert suggested.startswith(taken)
    assert (taken == suggested) == (name == "tab" or suggested in taken)
    if name != "tab":
        assert text_and_suggestion(editor) == before + suggested


def test_word_that_is_given_back_can_be_taken_again(make_editor):
    editor = make_editor("ab cd\n春")
    both = text_and_suggestion(editor)
    press(editor, "left")
    assert (editor.session.text, text_and_suggestion(editor)) == ("ab cd", both)
    press(editor, "right")
    assert (editor.session.text, text_and_suggestion(editor)) == ("ab cd\n春", both)


def test_typing_what_is_suggested_leaves_the_rest_suggested(make_editor):
    editor = make_editor("ab")
    both = text_and_suggestion(editor)
    press(editor, editor.suggestion.text[0], editor.suggestion.text[1])
    assert (len(editor.session), text_and_suggestion(editor)) == (4, both)


def test_other_suggestions_are_different_and_found_again(make_editor):
    editor = make_editor("ab")
    suggestions = [editor.suggestion.text]
    for _ in range(2 * COUNT):
        press(editor, "down")
        suggestions.append(editor.suggestion.text)
    assert len(set(suggestions)) == 2 * COUNT + 1
    assert (editor.number, editor.session.text) == (2 * COUNT + 1, "ab")
    press(editor, *["up"] * 2 * COUNT)
    assert editor.suggestion.text == suggestions[0]
    press(editor, "up")
    assert editor.number == 1


def test_greedy_model_has_one_suggestion(make_editor):
    editor = make_editor("ab", temperature=0.0)
    press(editor, "down")
    assert editor.message.startswith("no other continuation")
    assert editor.number == 1


def test_temperature_changes_in_steps_down_to_greedy(make_editor):
    editor = make_editor("ab", temperature=0.25)
    press(editor, "hotter")
    assert editor.session.sampling.temperature == 0.35
    press(editor, *["cooler"] * 5)
    assert editor.session.sampling.temperature == 0
    assert "temperature 0  " in shown(editor)[0][-3]


@pytest.mark.parametrize(
    ("text", "name", "result"),
    [
        ("ab cd", "backspace", "ab c"),
        ("ab cd", "delete word", "ab"),
        ("ab cd ", "delete word", "ab cd"),
        ("ab\ncd", "delete line", "ab\n"),
        ("ab\n", "delete line", "ab"),
        ("", "backspace", ""),
        ("", "delete word", ""),
        ("", "delete line", ""),
        ("", "left", ""),
        ("ab", "enter", "ab\n"),
    ],
)
def test_text_is_edited_and_every_change_undone(make_editor, text, name, result):
    editor = make_editor(text)
    press(editor, name)
    assert editor.session.text == result
    press(editor, "undo")
    assert editor.session.text == text
    assert bool(editor.message) == (text == result)


def test_unknown_characters_are_named_and_the_others_written(make_editor):
    editor = make_editor("ab")
    press(editor, "€a")
    assert editor.session.text == "aba"
    assert shown(editor, columns=40)[0][-3] == "not in the vocabulary: '€' (U+20AC)"
    press(editor, "€")
    assert editor.session.text == "aba"
    press(editor, "a")
    assert not editor.message


def test_typed_text_is_prepared_as_the_corpus_was(make_editor):
    editor = make_editor(prepare=str.lower)
    press(editor, "AB")
    assert editor.session.text == "ab"


def test_typing_is_undone_word_by_word(make_editor):
    editor = make_editor("ab")
    press(editor, *"ca d", "enter", *"ea", "cc")
    texts = []
    while not editor.message:
        texts.append(editor.session.text)
        press(editor, "undo")
    assert texts == ["abca d\neacc", "abca d", "abca", "ab"]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("seed", range(3))
def test_any_keys_can_be_undone(make_editor, seed, end):
    rng, editor, texts = random.Random(seed), make_editor("ab cd\n春", end, length=6), {"ab cd\n春"}
    for _ in range(60):
        press(editor, rng.choice(NAMES))
        texts.add(editor.session.text)
        shown(editor, rng.randint(4, 50), rng.randint(1, 16))
    for _ in range(200):
        press(editor, "undo")
        assert editor.session.text in texts
    assert editor.session.text == "ab cd\n春"
    assert editor.message == "nothing to undo"


def test_end_of_a_document_is_shown_and_taken_last(make_editor):
    editor = make_editor("ab", "\n", length=200, temperature=9.0)
    assert editor.suggestion.ends
    assert "∎" in "".join(shown(editor)[0])
    assert "[end]" in "".join(shown(editor, encodable=lambda t: t.encode("ascii", "replace").decode())[0])
    while editor.session.text[-1] != "\n":
        before = len(editor.session)
        press(editor, "right")
        assert len(editor.session) > before
    press(editor, "tab", "tab")
    assert editor.session.text.count("\n") == 3


def test_screen_shows_text_suggestion_probabilities_and_keys(make_editor):
    editor = make_editor("ab\n春")
    rows, cursor = shown(editor)
    assert (rows[0], cursor) == ("ab", (1, 2))
    assert rows[1].startswith("春" + editor.suggestion.text.split("\n")[0].replace("\x1b", "\\x1b"))
    assert re.match(r"next:  (\\x1b|newline|space|\S) \d+%  ", rows[-4])
    assert rows[-3] == "continuation 1  temperature 1  4 characters"
    assert rows[-2].startswith("Tab take  → word  ↓ other  ^D done  ← back  ⇧Tab undo")
    assert "^T warmer  ^G cooler" in re.sub(r"\x1b\[\d*m", "", rows[-1])
    assert "Tab take  Right word" in shown(editor, encodable=lambda t: t.encode("ascii", "replace").decode())[0][-2]


def test_long_text_is_shown_at_its_end(make_editor):
    editor = make_editor("ab cde\n" * 1000 + "a. ")
    rows, cursor = shown(editor, 40, 12)
    assert rows[cursor[0]].startswith("a. ")
    assert rows[0] == "ab cde"
    assert cursor[1] == 3
    assert shown(editor, 40, 3)[0][-1].startswith(("a. ", editor.suggestion.text[-1:]))


def test_long_suggestion_leaves_the_end_of_the_text_on_the_screen(make_editor):
    editor = make_editor("ab cde\n" * 100)
    press(editor, *["left"] * 100)
    _, (row, _) = shown(editor, 40, 14)
    assert row == 3
    assert "ab cde" * 40 in text_and_suggestion(editor).replace("\n", "")


def suggestion(text, ends=False):
    return Suggestion([Character(c, [ord(c)]) for c in text], ends)


@pytest.mark.parametrize(
    ("text", "word", "line"),
    [
        ("ab cd", "ab", "ab cd"),
        (" ab, cd", " ab,", " ab, cd"),
        ("\n\nab!\ncd", "\n\nab!", "\n\nab!\n"),
        ("don't go", "don't", "don't go"),
        ("春風ab", "春", "春風ab"),
        ("--ab", "--", "--ab"),
        ("  ", "  ", "  "),
    ],
)
def test_words_and_lines_of_a_suggestion(text, word, line):
    assert text[: suggestion(text).first_word()] == word
    assert text[: suggestion(text).first_line()] == line


@pytest.mark.parametrize(
    ("text", "word", "line"),
    [
        ("ab cd.", " cd.", "ab cd."),
        ("ab cd. ", " ", "ab cd. "),
        ("ab\n", "\n", "\n"),
        ("a\n春風", "風", "春風"),
        ("", "", ""),
    ],
)
def test_last_word_and_line(text, word, line):
    characters = suggestion(text).characters
    assert "".join(c.text for c in last_word(characters)) == word
    assert "".join(c.text for c in last_line(characters)) == line
