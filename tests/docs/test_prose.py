"""README and pages say things in short sentences, and the README in few words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aligncvc.files import PROJECT_ROOT

README = PROJECT_ROOT / "README.md"
PAGES = sorted(
    [
        README,
        *(PROJECT_ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")),
        *PROJECT_ROOT.glob("*/README.md"),
        *PROJECT_ROOT.glob("docs/**/*.md"),
    ]
)
RECORDS = {PROJECT_ROOT / "docs/lab-log.md", *(PROJECT_ROOT / "docs/verdict").rglob("*.md")}
"""The dated log, which stays as it was written, and the pages that the verdict's command writes."""
WORDS_OF_THE_README = range(700, 901)
LONGEST_SENTENCE = 30
LONGEST_FIRST_SENTENCE = 20
BLOCK_START = re.compile(r"[-*] |\d+\. |#")


def prose(text: str) -> list[str]:
    """Paragraphs, items and headings of Markdown, one string each.

    Code blocks, tables, pictures and comments are left out. Inline code and a formula count as one word, a
    link as its text.
    """
    text = re.sub(r"^ *```.*?^ *```$|<!--.*?-->|\$\$.*?\$\$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<[^<>\n]+>", "", text)
    paragraphs: list[str] = []
    joined = False  # whether the next line goes on with the last paragraph
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith(("|", "![")) or (line.startswith("    ") and not joined):
            joined = False
            continue
        if joined and not BLOCK_START.match(bare):
            paragraphs[-1] += " " + bare
        else:
            paragraphs.append(re.sub(r"^([-*]|\d+\.|#+) ", "", bare))
        joined = not bare.startswith("#")
    return [_plain(paragraph) for paragraph in paragraphs]


def _plain(markdown: str) -> str:
    markdown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"`[^`]+`|\$[^$]+\$", "CODE", markdown).replace("*", "")


def sentences(paragraph: str) -> list[str]:
    """A paragraph at its full stops, question marks and colons' ends; `e.g.` and numbers do not end one."""
    return [part for part in re.split(r"(?<=[.!?])[)\"]?\s+(?=[A-Z0-9(\"])", paragraph) if part]


def words(text: str) -> int:
    """Words of a text: what stands between spaces and has a letter or a digit."""
    return sum(any(character.isalnum() for character in part) for part in text.split())


def test_what_counts_as_a_sentence_and_a_word() -> None:
    text = "# A head\n\nOne `a b` [link](x.md) is 3.5 dB. Two\nlines.\n\n    code\n\n| a |\n- item\n  on\n"
    assert prose(text) == ["A head", "One CODE link is 3.5 dB. Two lines.", "item on"]
    assert sentences(prose(text)[1]) == ["One CODE link is 3.5 dB.", "Two lines."]
    assert words("One CODE link - is 3.5 dB.") == 6


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in RECORDS],
    ids=lambda page: str(page.relative_to(PROJECT_ROOT)),
)
def test_no_sentence_is_long(page: Path) -> None:
    parts = [part for paragraph in prose(page.read_text()) for part in sentences(paragraph)]
    long = [f"{words(part)} words: {part}" for part in parts if words(part) > LONGEST_SENTENCE]
    assert not long, "\n".join(long)


def test_the_readme_says_it_in_few_words() -> None:
    """700 to 900 words, headings and captions included, code and tables not."""
    paragraphs = prose(README.read_text())
    assert sum(map(words, paragraphs)) in WORDS_OF_THE_README
    assert words(sentences(paragraphs[1])[0]) <= LONGEST_FIRST_SENTENCE
