"""Planted facts: sentences about invented people, hidden in running text, and the questions that ask for them.

Names, values and templates are parted into those of training and those held out for measuring. In a one-type episode
all facts are of the same kind, so that only the name tells them apart: mixed kinds give the answer away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.training.data import Asked, Corpus, Episode, Span, Words, flatten


def many(text: str) -> list[str]:
    """Words of a list."""
    return text.split()


FIRST = many(
    """
    Anna Marla Tom Peter Alice Rosa Henry Oscar Lucy Emma Victor Hugo Clara Martin Simon Julia Nora Felix
    Bruno Irene Daniel Sarah Paul Maria George Helen Jack Kate Leo Mona Otto Ruth Walter Ella Frank Grace
    Ivan Jane Karl Lily Robert Mary William Edward Arthur Charles Fanny Dora Philip Bertha Ned Polly Giles
    Hester Ambrose Flora Percy
    Adam Albert Alexander Alfred Amelia Amy Andrew Angela Anthony Archibald August Barbara Basil Beatrice Benjamin
    Bernard Betty Blanche Caleb Caroline Catherine Cecil Charlotte Christopher Clarence Claude Constance Cora David
    Deborah Dennis Diana Dick Dorothy Duncan Edith Edmund Edwin Eleanor Eliza Elizabeth Ellen Emily Ernest Esther
    Ethel Eugene Eva Evelyn Ferdinand Florence Francis Frederick Gabriel Geoffrey Gerald Gertrude Gilbert Gordon
    Gregory Guy Hannah Harold Harry Helena Herbert Hilda Horace Howard Humphrey Ida Isaac Isabel Jacob James Jasper
    Jenny Jessie Joan John Jonathan Joseph Josephine Joshua Judith Katherine Kitty Laura Lawrence Leonard Lewis
    Lionel Louis Louisa Lydia Mabel Margaret Margery Mark Marion Martha Matthew Maud Max Michael Mildred Millicent
    Monica Nancy Nathan Nellie Nicholas Oliver Olive Patrick Pauline Penelope Phoebe Priscilla Rachel Raymond Rebecca
    Reginald Richard Robin Roger Roland Ronald Rosamond Rose Rowland Samuel Sally Sidney Silas Stephen Susan Sybil
    Sylvia Theodore Theresa Thomas Timothy Ursula Valentine Vincent Viola Violet Walter Winifred Zachary
    """
)
LAST = many(
    """
    Quint Baker Stone Miller Wood Hill King Brook Field Hall Grey Ford West Lake Cook Fox Park Rose Snow Bird
    Marsh Black Swan Cole Wells Hart Bell Penn Lamb Moss Barton Carver Dalton Ellis Foster Graham Harding
    Jervis Kemp Lowe Morton Norris Parsons Ransome Selby Talbot Vernon Wilmot Yates Drew
    Abbott Adams Allen Andrews Arnold Ashley Austin Bailey Ball Banks Barker Barnes Barrett Barry Bates Beck Bennett
    Benson Bird Bishop Blake Bond Booth Bowen Bradley Brand Brown Bruce Burke Burton Butler Campbell Carr Carter Chapman
    Clark Clayton Coleman Collins Cooper Crane Crawford Cross Curtis Davies Dawson Day Dean Dixon Douglas Duncan Dunn
    Edwards Elliott Evans Farrell Fenton Fisher Fleming Fletcher Forbes Francis Fraser Freeman French Gibson Gilbert
    Gordon Grant Green Greene Griffith Hamilton Hammond Hardy Harper Harris Harrison Harvey Hayes Henderson Herbert
    Higgins Hobbs Holland Holmes Howard Hudson Hughes Hunt Hunter Jackson James Jenkins Johnson Jones Kelly Kennedy
    Knight Lane Lang Lawson Lee Lewis Lloyd Long Lucas Marshall Martin Mason Matthews Maxwell May Mills Mitchell Moore
    Morgan Morris Murray Nash Nelson Newton Nichols Oliver Osborne Owen Page Palmer Parker Pearson Perry Phillips
    Pierce Porter Powell Price Reed Reynolds Richards Roberts Robinson Rogers Ross Russell Sanders Saunders Scott
    Sharp Shaw Simpson Smith Spencer Stanley Stevens Stewart Stuart Sullivan Taylor Thompson Turner Walker Wallace
    Walsh Ward Warren Watson Watts Webb West White Whitney Williams Wilson Wright Young
    """
)
HELD_FIRST = many(
    """
    Agnes Ralph Miriam Edgar Sophie Conrad Bridget Cyril Matilda Rupert Wilfred Harriet
    """
)
HELD_LAST = many(
    """
    Thorn Castle Winter Drake Finch Archer Plover Hawkes Merton Sloane Bray Chester
    """
)
SYLLABLES = [a + b for a in many("b d f g k l m n p r s t v z br tr st kl") for b in many("a e i o u an or el im ut")]

CITY = many(
    """
    Paris London Rome Berlin Madrid Vienna Oslo Dublin Prague Athens Lisbon Cairo Boston Delhi Tokyo Moscow
    Warsaw Geneva Naples York Bristol Dover Bath Leeds Florence Venice Hamburg Brussels Edinburgh Glasgow
    """
)
HELD_CITY = many(
    """
    Lima Zurich Bergen Havana Milan Riga Exeter Plymouth Genoa Seville
    """
)
JOB = many(
    """
    baker doctor teacher sailor farmer painter lawyer tailor soldier judge cook hunter nurse singer writer
    smith
    """
)
COLOUR = many(
    """
    red blue green white black brown yellow grey golden silver
    """
)
ANIMAL = many(
    """
    dog cat horse bird fox cow sheep pig goat mouse bear wolf parrot monkey donkey hen
    """
)
THING = many(
    """
    key ring letter map coin book lamp knife watch box
    """
)
PLACE = many(
    """
    kitchen garden tower cellar church forest castle stable library attic barn mill harbour cave
    """
)
FOOD = many(
    """
    bread cheese apples soup rice honey cake fish eggs milk pears nuts pie ham
    """
)

# statements, the last one held out; questions, the last one held out; {n} the name, {v} the value, {o} a thing
TEMPLATES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "city": (
        (
            "{n} lives in {v}.", "The home of {n} is in {v}.", "{n} was born in {v}.", "{n} came from {v}.",
            "{n} had moved to {v}.", "It was in {v} that {n} lived.", "In {v} stood the house of {n}.",
            "{n} has a house in {v}.",
        ),
        (
            "Where does {n} live?", "In which town does {n} live?", "What is the town of {n}?",
            "Which city is {n} from?", "Where can one find {n}?", "Where did {n} live?", "Where is {n} at home?",
            "Where is the home of {n}?",
        ),
    ),
    "number": (
        (
            "The secret number of {n} is {v}.", "{n} wrote down the number {v}.", "The number of {n} was {v}.",
            "{n} had the number {v}.", "{v} was the number of {n}.", "{n} kept the number {v} in mind.",
            "{n} chose the number {v}.",
        ),
        (
            "What is the secret number of {n}?", "What number did {n} choose?", "What was the number of {n}?",
            "Which number did {n} have?", "What number has {n}?", "Which number belongs to {n}?",
        ),
    ),
    "job": (
        (
            "{n} works as a {v}.", "{n} is a {v}.", "{n} became a {v}.", "{n} was the {v} of the village.",
            "{n} had always been a {v}.", "By trade {n} was a {v}.", "{n} earned a living as a {v}.",
        ),
        (
            "What is the job of {n}?", "What does {n} work as?", "What did {n} become?", "What was {n} by trade?",
            "Which work did {n} do?", "What was the work of {n}?", "What is the trade of {n}?",
        ),
    ),
    "animal": (
        (
            "{n} has a {v}.", "{n} bought a {v}.", "{n} was seen with a {v}.", "The {v} belongs to {n}.",
            "A {v} followed {n} everywhere.", "{n} took care of a {v}.", "{n} owned a {v}.",
        ),
        (
            "What animal does {n} have?", "What did {n} buy?", "What animal followed {n}?", "Which animal did {n} own?",
            "What kind of animal has {n}?", "What animal was with {n}?", "Which animal belongs to {n}?",
        ),
    ),
    "place": (
        (
            "{n} keeps the {o} in the {v}.", "{n} hid the {o} in the {v}.", "The {o} of {n} lay in the {v}.",
            "{n} forgot the {o} in the {v}.", "In the {v} {n} put down the {o}.", "{n} left the {o} in the {v}.",
        ),
        (
            "Where is the {o} of {n}?", "Where did {n} hide the {o}?", "Where does {n} keep the {o}?",
            "In which place was the {o} of {n}?", "Where had {n} left the {o}?", "Where did {n} put the {o}?",
        ),
    ),
    "food": (
        (
            "{n} likes to eat {v}.", "The favourite food of {n} is {v}.", "{n} ate {v} every day.",
            "There was nothing that {n} liked better than {v}.", "{n} was very fond of {v}.", "For dinner {n} had {v}.",
            "{n} always asks for {v}.",
        ),
        (
            "What does {n} like to eat?", "What is the favourite food of {n}?", "What did {n} eat?",
            "What was {n} fond of?", "What does {n} eat every day?", "What did {n} have for dinner?",
            "What food does {n} like?",
        ),
    ),
}  # fmt: skip
KINDS = tuple(TEMPLATES)
PAIR = "pair"  # the stepping stone: the value right behind the name


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence, a question about it and the answer."""

    sentence: str
    question: str
    answer: str


def syllables(rng: random.Random) -> str:
    """An invented name."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()


def invented(rng: random.Random, words: Sequence[str]) -> str:
    """Something that can be a name: one of `words`, where there are any, or syllables."""
    return rng.choice(words) if words and rng.random() < 0.5 else syllables(rng)


def names_in(words: Words, corpus: Corpus, tokens: int = 3_000_000) -> tuple[str, ...]:
    """Words of the books' first tokens with a capital inside of a sentence, sorted; none that is held out."""
    held = {*HELD_FIRST, *HELD_LAST, *HELD_CITY}
    found = set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,9}\b", words.decode(corpus.tokens[:tokens].tolist())))
    return tuple(sorted(found - held))


def person(rng: random.Random, held: bool, words: Sequence[str] = ()) -> str:
    """First and last name, of the held-out lists or of the training's: from its lists, from `words`, or invented."""
    if held:
        return f"{rng.choice(HELD_FIRST)} {rng.choice(HELD_LAST)}"
    return " ".join(rng.choice(names) if rng.random() < 0.4 else invented(rng, words) for names in (FIRST, LAST))


def value(rng: random.Random, kind: str, held: bool, words: Sequence[str] = ()) -> str:
    """A value of a kind of fact."""
    if kind == "city":
        return rng.choice(HELD_CITY) if held else rng.choice(CITY) if rng.random() < 0.6 else invented(rng, words)
    if kind == "number":
        return str(rng.randrange(100, 1000))
    if kind == "animal":
        return f"{rng.choice(COLOUR)} {rng.choice(ANIMAL)}"
    return rng.choice({"job": JOB, "place": PLACE, "food": FOOD}[kind])


def fact(rng: random.Random, kind: str, held: bool = False, words: Sequence[str] = ()) -> Fact:
    """One fact about a new person."""
    name = person(rng, held, words)
    if kind == PAIR:
        found = value(rng, rng.choice(KINDS), held, words)
        return Fact(f"{name} {found}.", f"{name}?", found)
    found, thing = value(rng, kind, held, words), rng.choice(THING)
    statements, questions = TEMPLATES[kind]
    said = statements[-1] if held else rng.choice(statements[:-1])
    asked = questions[-1] if held else rng.choice(questions[:-1])
    return Fact(said.format(n=name, v=found, o=thing), asked.format(n=name, v=found, o=thing), found)


def facts(
    rng: random.Random, count: int, one_type: bool, pairs: float, held: bool = False, words: Sequence[str] = ()
) -> list[Fact]:
    """`count` facts about different people; with `one_type` all of one kind. `words`: more that can be names."""
    only = PAIR if rng.random() < pairs else rng.choice(KINDS)
    found: list[Fact] = []
    names: set[str] = set()
    for _ in range(count * 4):
        one = fact(rng, only if one_type else rng.choice(KINDS), held, words)
        if one.question not in names and len(found) < count:
            names.add(one.question)
            found.append(one)
    return found


def plant(
    rng: random.Random, text: list[int], sentences: list[list[int]], ends: object = None
) -> tuple[list[int], list[Span]]:
    """Put token sentences into a text at random places; the text loses as many tokens at its end.

    Returns the tokens (as many as before) and the span of each sentence, in the order given.
    """
    room = len(text) - sum(map(len, sentences))
    assert room >= 0, "facts must fit"
    cuts = sorted(rng.randrange(room + 1) for _ in sentences)
    out: list[int] = []
    spans: list[Span] = []
    at = 0
    for cut, sentence in zip(cuts, sentences, strict=True):
        out += text[at:cut]
        at = cut
        spans.append((len(out), len(out) + len(sentence)))
        out += sentence
    return out + text[at:room], spans


def question_tokens(words: Words, question: str) -> list[int]:
    """The prompt of a question, up to where the answer starts."""
    return words.short("Question:") + words.encode(" " + question) + words.short(" Answer:")


def answer_tokens(words: Words, answer: str) -> list[int]:
    """An answer and the newline that ends it."""
    return words.encode(" " + answer) + words.newline


def value_span(tokens: list[int], sentence: Span, value: list[int]) -> Span:
    """Where a sentence tells its value: the last place inside it where the value's tokens stand; empty if nowhere."""
    start, end = sentence
    for at in range(end - len(value), start - 1, -1):
        if tokens[at : at + len(value)] == value:
            return at, at + len(value)
    return start, start


@dataclass(frozen=True, slots=True)
class NeedleSettings:
    """How facts are made: per 64 tokens of text, the share of one-type, cloze and name-value episodes."""

    density: tuple[int, ...] = (1, 2, 3)
    one_type: float = 0.7
    cloze: float = 0.4
    pairs: float = 0.3
    questions: int = 4
    question_weight: float = 0.1
    names: tuple[str, ...] = ()  # beside those of the lists


def needle_episode(
    rng: random.Random, words: Words, corpus: Corpus, total: int, room: int, how: NeedleSettings, held: bool = False
) -> Episode:
    """Facts planted in running text, and a prompt that asks for some of them."""
    count = max(1, round(total / 64 * rng.choice(how.density)))
    made = facts(rng, count, rng.random() < how.one_type, how.pairs, held, how.names)
    encoded = [words.encode(" " + one.sentence) for one in made]
    while encoded and sum(map(len, encoded)) > total:
        encoded.pop()
        made.pop()
    tokens, spans = plant(rng, corpus.passage(rng, total), encoded)
    episode = Episode(tokens, [], [], kind="needle")
    order = list(range(len(made)))
    rng.shuffle(order)
    for index in order[: how.questions]:
        ask(rng, words, episode, made[index], spans[index], room, how)
    return episode


def ask(
    rng: random.Random, words: Words, episode: Episode, one: Fact, span: Span, room: int, how: NeedleSettings
) -> None:
    """Add a question (or the sentence up to its value) and its answer to the prompt, where there is room."""
    if rng.random() < how.cloze and one.answer in one.sentence:
        asked = words.encode(" " + one.sentence[: one.sentence.rindex(one.answer)].rstrip())
    else:
        asked = question_tokens(words, one.question)
    answer = answer_tokens(words, one.answer)
    start = len(episode.prompt)
    if start + len(asked) + len(answer) > room:
        return
    end = start + len(asked)
    told = value_span(episode.tokens, span, answer[:-1])
    episode.asked.append(Asked((start, end), (end, end + len(answer)), (span, told)))
    episode.prompt += asked + answer
    episode.weights += [how.question_weight] * len(asked) + [1.0] * len(answer)


def passage_of(words: Words, made: list[Fact]) -> list[int]:
    """Facts as one passage of text."""
    return flatten(words.encode(" " + one.sentence) for one in made)
