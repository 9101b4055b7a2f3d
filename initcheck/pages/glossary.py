"""The terms of the pages, each with its definition: the ones that a document uses stand at its end, linked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Final

from initcheck.pages.document import (
    Block,
    Bullets,
    Definitions,
    Details,
    Document,
    Figure,
    Paragraph,
    Section,
    Span,
    Table,
    Text,
    prose,
)

ANCHOR: Final = "term"
"""What the anchor of each term begins with."""

TERMS: Final[Mapping[str, str]] = {
    "amplitude": "The root of the mean square of a signal over its units and samples.",
    "baseline": "The initialization of a model as it was recorded in a file, with which the gate compares later ones.",
    "chance level": "What a prediction that ignores the input reaches: of C balanced classes, an accuracy of 1/C and a "
    "cross-entropy of ln C.",
    "chaotic": "Of a network whose correlation between two nearly equal inputs falls from layer to layer, so that "
    "small differences grow and gradients explode with depth.",
    "critical": "Of the border between ordered and chaotic, where chi is 1: signals and gradients last over the most "
    "layers.",
    "coverage": "Which weights and layers of a model were measured, and which not, with the reason.",
    "depth scale": "The number of layers over which a difference shrinks to 1/e.",
    "draw": "One set of random weights of a network, made by its own initializers from one seed.",
    "equivalence test": "A test whose alternative is 'no difference worth mention': it shows that a value lies within "
    "a margin, where the usual test can only fail to show that it does not.",
    "fan": "The number of inputs (fan_in) or outputs (fan_out) of one unit, from which initializers take their scale.",
    "gain": "The factor by which the mean square of the signal, or of the gradient, changes from one layer to the next."
    " PyTorch's gain is one of standard deviations: its square root.",
    "geometric mean": "The root of a product: the factor that, applied at every layer, gives the change over all of "
    "them.",
    "interval": "The confidence interval of a value over the draws, by Student's t where nothing else is said: 95% of "
    "such intervals hold the true value.",
    "margin": "How far a value may lie from what is wanted before it is called different.",
    "mean field": "The theory of networks of infinite width, in which a preactivation is a sum of so many terms that "
    "it is normal.",
    "negative control": "The same test on a case that is wrong on purpose: it must fail, or the test shows nothing.",
    "ordered": "Of a network in which the correlation between two inputs rises towards 1 from layer to layer, so that "
    "the outputs no longer depend on the input and gradients vanish.",
    "path": "A sequence of layers from an input of the model to an output, along which the signal is followed.",
    "power": "The probability with which a test shows a defect of a given size.",
    "preactivation": "The input of an activation function: weighted sum plus bias.",
    "saturated": "Of a unit whose activation function is flat at its input: its gradient is nearly zero.",
    "score": "A difference between measurement and theory in standard errors.",
    "second moment": "The mean of the squares of a signal over its units and samples.",
    "standard error": "The standard deviation of an estimate, here of a mean over draws.",
    "symmetric": "Of the units of a layer that hold equal weights: they compute the same, get the same gradient, and "
    "stay equal.",
    "undecided": "The draws do not suffice to show either verdict.",
}
"""Each term in the singular as it stands in a sentence, and what it means."""

# Parts of a path, an option or a hyphenated word are none.
_PATTERN: Final = re.compile(
    r"(?<![\w/.-])(" + "|".join(map(re.escape, sorted(TERMS, key=len, reverse=True))) + r")s?(?![\w/=-]|\.\w)",
    re.IGNORECASE,
)


def name_anchor(term: str) -> str:
    """Give the anchor of a term."""
    return f"{ANCHOR}-{term.replace(' ', '-')}"


def add_glossary(document: Document) -> Document:
    """Link each known term where it first stands in a sentence, and explain those that were found at the end."""
    found: set[str] = set()

    def link(text: Text) -> Text:
        return prose(*(_split(span, found) for span in text))

    answer = document.answer
    if answer is not None:
        answer = dataclasses.replace(
            answer, verdict=link(answer.verdict), blocks=tuple(_map(block, link) for block in answer.blocks)
        )
    sections = tuple(_map_section(section, link) for section in document.sections)
    if not found:
        return document
    terms = Definitions(tuple((term, prose(meaning)) for term, meaning in TERMS.items() if term in found), ANCHOR)
    glossary = Section("glossary", "Glossary", (terms,))
    return dataclasses.replace(document, answer=answer, sections=(*sections, glossary))


def _split(span: Span, found: set[str]) -> Text:
    """Cut a plain span at the terms that have not been linked yet."""
    if span.style != "plain" or span.link:
        return (span,)
    parts: list[Span] = []
    done = 0
    for match in _PATTERN.finditer(span.text):
        term = match[1].lower()
        if term not in found:
            found.add(term)
            parts += [Span(span.text[done : match.start()]), Span(match[0], link=f"#{name_anchor(term)}")]
            done = match.end()
    return (*parts, Span(span.text[done:]))


def _map_section(section: Section, link: Callable[[Text], Text]) -> Section:
    blocks = tuple(_map(block, link) for block in section.blocks)
    return dataclasses.replace(section, blocks=blocks, sections=tuple(_map_section(s, link) for s in section.sections))


def _map(block: Block, link: Callable[[Text], Text]) -> Block:
    """Link the terms in the sentences of a block. A summary is a button already and holds no links."""
    match block:
        case Paragraph():
            return Paragraph(link(block.text))
        case Bullets():
            return Bullets(tuple(link(item) for item in block.items))
        case Table() | Figure():
            return dataclasses.replace(block, caption=link(block.caption))
        case Details():
            return dataclasses.replace(block, blocks=tuple(_map(inner, link) for inner in block.blocks))
        case _:
            return block
