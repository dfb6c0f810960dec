"""Laws of documents that were written before: the same rows, no second writing, bounded bytes."""

from __future__ import annotations

import torch

from model.evaluation.common import Subject
from model.evaluation.methods.knn import Nearest
from model.evaluation.methods.latent import Latent, PoolOnly
from model.evaluation.written import Written, size
from tests.training.tiny import story


class Counting:
    """Writes as a subject does, and counts."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.count = subject, 0

    def __call__(self, name, ids, keep_hidden=False):  # type: ignore[no-untyped-def]
        self.count += 1
        return self.subject.write(name, ids, keep_hidden)


def test_no_method_writes_a_text_that_another_wrote(subject: Subject) -> None:
    before, counting = subject.written, Counting(subject)
    subject.written = Written(counting)
    try:
        methods = [Nearest(subject), Latent(subject), PoolOnly(subject)]
        for method in methods:
            for number in (1, 2, 1):
                method.read(story(number, 4))
        assert counting.count == 2
        assert subject.written.spared_s > 0
        first, again = methods[1].documents[0], methods[1].documents[2]
        assert (first.name, again.name) == ("text 0", "text 2")  # names seed the drops of the pool
        assert first.hidden is None
        assert methods[0].documents[0].hidden is not None
    finally:
        subject.written = before


def test_what_was_written_before_is_what_would_be_written(subject: Subject) -> None:
    ids = subject.tokenizer.encode(story(5, 4))
    written = Written(subject.write)
    written.document("one", ids)
    kept, anew = written.document("two", ids), subject.write("two", ids)
    assert all(torch.equal(kept.rows.tensors()[name], one) for name, one in anew.rows.tensors().items())
    assert (kept.name, kept.lengths) == (anew.name, anew.lengths)
    assert written.document("two", ids, keep_hidden=True).hidden is not None  # written again, with what is asked for


def test_the_longest_unasked_go_where_there_is_no_room(subject: Subject) -> None:
    texts, counting = [subject.tokenizer.encode(story(number, 3)) for number in range(3)], Counting(subject)
    room = sum(size(subject.write("x", ids)) for ids in texts[:2])
    written = Written(counting, room + 1)
    for number in (0, 1, 0, 2, 0):  # 2 drives out 1, not 0
        written.document("x", texts[number])
    assert counting.count == 3
    written.document("x", texts[1])
    assert counting.count == 4
    assert written.bytes <= room + size(subject.write("x", texts[2]))
