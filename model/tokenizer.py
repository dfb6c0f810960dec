"""Text to tokens and back, with the characters that each token stands for. Needs `tokenizers` alone, not torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from model.errors import CheckpointError


class TextTokenizer:
    """A tokenizer.json; no special token is added to any text: the per-layer bos row replaces it."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise CheckpointError(f"{path} is not a readable tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @classmethod
    def from_folder(cls, folder: Path) -> TextTokenizer:
        """The tokenizer of a checkpoint folder; CheckpointError where it has none."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no tokenizer.json.", "Fetch the tokenizer of the checkpoint's base model."
            )
        return cls(path)

    @property
    def size(self) -> int:
        """Number of tokens."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and the characters [start, end) that each stands for."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def id_of(self, token: str) -> int | None:
        """The id of a special token, or None."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """Text as tokens arrive; a character cut between two tokens comes out whole, with the second."""
        seen: list[int] = []
        shown = ""
        for token in ids:
            seen.append(token)
            text = self.decode(seen)
            if not text.endswith("�"):
                yield text[len(shown) :]
                shown = text
        rest = self.decode(seen)[len(shown) :]
        if rest:
            yield rest
