"""Why a dataset has fewer tokens than were asked for, and what to do."""

from collections.abc import Iterable, Iterator


class Seen:
    """The documents that went by: how many, and whether they are copies of one."""

    def __init__(self) -> None:
        self.documents = 0
        self._hashes: set[int] = set()

    def passing(self, texts: Iterable[str]) -> Iterator[str]:
        """The same texts, counted as they are asked for."""
        for text in texts:
            self.documents += 1
            if len(self._hashes) < 2:
                self._hashes.add(hash(text.strip()))
            yield text

    def explain(self, kind: str, used: int) -> str:
        """Why the tokens of this kind run out with `used` documents, and what to do; once all have gone by."""
        if len(self._hashes) == 1:
            what = "it is one document" if self.documents == 1 else f"it is {self.documents} copies of one document"
            return (
                f"{what}, which is wholly in training or in validation; bring several: in a .txt file an empty line "
                "ends a document, in a directory of .txt files each is one"
            )
        where = f"{used} of its {self.documents}" if used else f"none of its {self.documents}"
        return f"{where} documents fell to {kind}, by a hash of their text; bring more text, or ask for fewer tokens"
