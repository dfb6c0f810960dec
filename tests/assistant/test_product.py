"""The product as a method of the evaluation suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TEXT = "Robert Talbot keeps the lantern in the tower. " * 3 + "The river is cold. " * 40


@pytest.fixture
def product(model: Path, home: Path):
    from model.evaluation.common import Subject
    from mplus_cli.evaluation.product import Product

    return Product(Subject(model, "cpu", "float32"))


def test_an_answer_is_what_ask_prints(product) -> None:
    product.read(TEXT)
    question = "Where does Robert Talbot keep the lantern?"
    said = product.respond(question, product.subject.question(question), 8)
    assert "tower" in said
    assert said == product.respond(question, product.subject.question(question), 8)


def test_candidates_are_ranked_behind_the_library_s_memory(product) -> None:
    from model.evaluation.methods.latent import Latent

    latent = Latent(product.subject)
    prompt, options = product.subject.tokenizer.encode("The river"), [product.subject.tokenizer.encode(" is cold.")]
    empty = product.score(prompt, options)
    for method in (product, latent):
        method.read(TEXT)
    assert product.score(prompt, options) != empty
    assert len(product.score(prompt, options)[0]) == len(options[0])


def test_a_reset_forgets_and_the_environment_is_left_alone(product) -> None:
    before = os.environ.get("MPLUS_HOME")
    product.read(TEXT)
    assert product.bytes_held()["disk"] > 0
    product.reset()
    assert product.respond("Who?", product.subject.question("Who?"), 4) == ""
    assert product.bytes_held()["disk"] == 0
    assert os.environ.get("MPLUS_HOME") == before
