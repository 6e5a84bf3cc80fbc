"""The words of the sentence tasks, in English and Chinese, and filler text without them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Grammar:
    """The parts of a sentence; ``{}`` in a part is a cue.

    before    a sentence with another cue, before the cause
    cause     the sentence that decides the answer, up to its cue
    suffix    the rest of that sentence
    mention   a remark with another cue, between the cause and the question; "": none
    question  the words before the answer
    cues      answer -> the cues that decide for it
    near      the cause stands directly before the question, and the filler before the cause
    """

    before: str
    cause: str
    suffix: str
    mention: str
    question: str
    cues: dict[str, tuple[str, ...]]
    near: bool = False


def _single(pairs: str) -> dict[str, tuple[str, ...]]:
    return {answer: (cue,) for cue, answer in (pair.split(":") for pair in pairs.split())}


GRAMMARS: dict[str, dict[str, Grammar]] = {
    "en": {
        "birthplace": Grammar(
            "I saw {}, ",
            "I was born in ",
            ", ",
            "I saw {}, ",
            "I speak ",
            _single(
                "France:French Spain:Spanish Germany:German Italy:Italian Japan:Japanese Poland:Polish Russia:Russian "
                "Denmark:Danish"
            ),
        ),
        "control": Grammar(
            "the {} are far, ",
            "the ",
            " ",
            "",
            "are in the ",
            _single("clouds:sky fish:sea trees:forest cows:meadow books:library kings:castle ships:harbor coins:purse"),
            near=True,
        ),
        "replaced_subject": Grammar(
            "{} ran, ",
            "",
            " ran, ",
            "without {}, ",
            "yet ",
            {
                "he": ("Peter", "John"),
                "she": ("Anna", "Mary"),
                "they": ("the girls", "the boys"),
            },
        ),
    },
    "zh": {
        "birthplace": Grammar(
            "我去过{}，",
            "我出生在",
            "，",
            "我去过{}，",
            "我会说",
            _single("法国:法语 德国:德语 日本:日语 俄国:俄语 泰国:泰语 韩国:韩语 英国:英语 希腊:希腊语"),
        ),
        "control": Grammar(
            "{}真远，",
            "",
            "",
            "",
            "就在",
            _single("云彩:天上 鱼儿:水里 树木:林中 耕牛:田间 书本:桌上 国王:宫中 帆船:海上 铜钱:袋里"),
            near=True,
        ),
        "replaced_subject": Grammar(
            "{}来了，",
            "",
            "来了，",
            "不见{}，",
            "于是",
            {
                "他": ("爸爸", "哥哥"),
                "她": ("妈妈", "姐姐"),
                "它": ("小猫", "小狗"),
            },
        ),
    },
}
"""Language -> kind -> grammar."""

RELATED = {
    "en": r"him(?:self)?|his|hers?|herself|them(?:selves)?|theirs?|born|speak|girls|boys|yet",
    "zh": "出生|会说|去过",
}
"""A pattern of the words with the same information as the cues or answers, or with that of the question."""

SEPARATORS = {"en": ", ", "zh": "，"}
"""What ends a piece of filler."""

_CLAUSE_END = {"en": r"(?<=[.,;:!?])\s+", "zh": r"(?<=[。，！？；：、])\s*"}


@cache
def forbidden_words(language: str) -> re.Pattern[str]:
    """Matches every cue, answer and question of a language, and the words related to them."""
    words, questions = set[str](), set[str]()
    for grammar in GRAMMARS[language].values():
        questions.add(grammar.question)
        words |= {*grammar.cues, *(cue for cues in grammar.cues.values() for cue in cues)}
    boundary = r"\b" if language == "en" else ""
    alternatives = "|".join([RELATED[language], *map(re.escape, sorted(words))])
    return re.compile(
        rf"{boundary}(?:{alternatives}){boundary}|{'|'.join(map(re.escape, sorted(questions)))}", re.IGNORECASE
    )


def clean_filler(text: str, language: str, symbols: int, characters: int) -> str:
    """The first ``characters`` characters of a text without the clauses that contain a forbidden word, or a character
    that is not among the ``symbols`` most frequent ones of the text.

    Line ends and other white space become single spaces (in Chinese, nothing). Raises ValueError if nothing is left.
    """
    between = " " if language == "en" else ""
    text = between.join(text.split())
    frequent = {character for character, _ in Counter(text).most_common(symbols)}
    forbidden, clauses, length = forbidden_words(language), [], 0
    for clause in re.split(_CLAUSE_END[language], text):
        if clause and frequent.issuperset(clause) and not forbidden.search(clause):
            clauses.append(clause)
            length += len(clause) + len(between)
            if length >= characters:
                break
    filler = between.join(clauses)[:characters]
    if not filler:
        raise ValueError("filler: every clause of the text contains a cue, an answer or a rare character")
    return filler
