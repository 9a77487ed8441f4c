"""Every error message of the package is written for somebody who has not read the code."""

import re

import pytest

from docs.tools.error_messages import messages, page

MESSAGES = messages()
#: What a message is about: a value, or something by the name that the user gave it or gives it.
OBJECT = re.compile(
    r"\{.+\}|'[^']+'|\b\w+=|\b\w+\(|\b[a-z]+\.[a-z]|\b\w+_\w*|\b[A-Z]\w*[a-z][A-Z]\w*"
)
#: The rule that was broken, or what to do about it.
RULE = re.compile(
    r"\b(must|needs?|only|known|between|belongs?|fits?|one of|reads up to|it has|its fields are|"
    r"covers|takes?|starts?|holds|counts|at least|at most|has data|instead|"
    r"add|call|check|choose|clip|compute|convert|delete|escape|fetch|finish|get|give|go|install|"
    r"keep|leave|list|load|log|look|lower|make|mend|move|name|open|programme|raise|read|register|"
    r"remove|rename|run|save|say|set|sort|train|try|update|use|write)\b",
    re.IGNORECASE,
)
#: Words that blame or say nothing.
EMPTY = re.compile(r"\b(invalid|illegal|bad|oops|please|sorry|unable|unexpected error)\b|!$", re.I)
#: The end of a sentence, a value, or of a command to be copied.
ENDS = (".", "?", "}", "'aimc-lightning[zoo]'", "pip install shtab")
WANTED = {
    "has five words or more": lambda text, words: len(words.split()) >= 5,
    "has 420 letters at most": lambda text, words: len(words) <= 420,
    "names its object": lambda text, words: OBJECT.search(text),
    "gives a rule or a remedy": lambda text, words: RULE.search(words),
    "has no empty words": lambda text, words: not EMPTY.search(words),
    "is a whole sentence": lambda text, words: text.endswith(ENDS),
}
#: An error of a config on its way up, with the layer that it is about.
PASSED_ON = "Layer {name}: {error}"


@pytest.mark.parametrize("rule", WANTED)
def test_every_message(rule):
    texts = [(m.module, m.text) for m in MESSAGES if m.text != PASSED_ON]
    assert [x for x in texts if not WANTED[rule](x[1], re.sub(r"\{.*?\}", "X", x[1]))] == []


@pytest.mark.parametrize(
    "text",
    ["Bad value.", "value is {value}", "something is not right here, sorry!", "A" * 421, "No no."],
)
def test_poor_messages_break_a_rule(text):
    words = re.sub(r"\{.*?\}", "X", text)
    assert not all(rule(text, words) for rule in WANTED.values())


def test_messages_are_found_with_their_parts_put_together():
    texts = [message.text for message in MESSAGES]
    assert len(texts) > 280
    assert not [text for text in texts if re.fullmatch(r"\{\w+\}", text)]
    assert any(text.startswith("The layer selection changed. Analog in the") for text in texts)


def test_page_shows_every_message():
    text = page()
    assert all(message.text in text for message in MESSAGES)
