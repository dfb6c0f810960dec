"""Fixed questions about one book, asked of a library as a reader would: which answers, and which pages, are right.

    python -m mplus_cli.measure_fixed docs/sample-questions.json --library sample --no-text

FILE: {"questions": [{"question", "answers", "chapter"}]}; a chapter is the number with which its title begins. A
passage is right when it holds an accepted answer as SQuAD compares; its page, when it stands in the chapter.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mplus_cli import listing, terminal
from mplus_cli.assistant.ask import Session
from mplus_cli.errors import UsageError
from mplus_cli.events import Answer, Answered, AskOptions, Source
from mplus_cli.measure import normal
from mplus_cli.settings import load

NUMBER = re.compile(r"\d+")


def questions_of(file: Path) -> list[dict[str, Any]]:
    """The questions of a file. Raises UsageError where it holds none."""
    try:
        return list(json.loads(file.read_text("utf-8"))["questions"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} holds no questions.", 'It must be {"questions": [...]}.') from error


def judged(asked: dict[str, Any], answer: Answer) -> dict[str, bool]:
    """What is right about an answer: its words, its first quote, one of its quotes; page: the chapter is right, too."""
    accepted = [normal(one) for one in asked["answers"]]

    def holds(text: str) -> bool:
        return any(one in normal(text) for one in accepted)

    def placed(source: Source) -> bool:
        number = NUMBER.match(source.chapter)
        return holds(source.quote) and number is not None and int(number[0]) == asked["chapter"]

    return {
        "answer": holds(answer.answer),
        "first": any(holds(source.quote) for source in answer.sources[:1]),
        "first_page": any(map(placed, answer.sources[:1])),
        "any": holds(answer.answer) or any(holds(source.quote) for source in answer.sources),
        "any_page": any(map(placed, answer.sources)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mplus_cli.measure_fixed", description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("questions", type=Path, metavar="FILE")
    parser.add_argument("--library", required=True, metavar="NAME")
    parser.add_argument("--no-text", action="store_true", help="without full-text search")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    options, found = AskOptions(text_search=not given.no_text), []
    with closing(Session(given.library, load())) as session:
        for asked in questions_of(given.questions):
            *_, event = session.ask(asked["question"], options)
            assert isinstance(event, Answered)
            found.append(judged(asked, event.answer))
            right = [name for name, value in found[-1].items() if value]
            terminal.say(f"{', '.join(right) or 'wrong'}: {asked['question']} {event.answer.answer}")
    counts = {name: sum(one[name] for one in found) for name in found[0]} if found else {}
    listing.measured({"questions": len(found), **counts}, given.json)


if __name__ == "__main__":
    main()
