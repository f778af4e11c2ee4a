"""A JSON file of long lists, row by row: where each row lies, without holding them all.

Annotation files are one object with a few lists of up to millions of rows. A parsed row takes ten
times the memory of its text, so a reader keeps the rows' places and parses a row again when its
image is packed.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CHUNK = 4 << 20  # bytes read at once
SPACE = re.compile(r"[ \t\n\r]*")
LONGEST_NUMBER_END = 4  # characters that may follow what looks like a number, and belong to it
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like that of utf-16-le
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class NotJsonError(ValueError):
    """A file is not JSON; the message says where."""


class Member(NamedTuple):
    """A name of the outer object; its rows follow if it stands for a list."""

    name: str
    is_list: bool


class Row(NamedTuple):
    """One row of a list."""

    list_name: str
    value: Any
    start: int  # bytes from the start of the file
    end: int


class JsonLists:
    """Scans a JSON file once.

    Args:
        path: of the file.

    Attributes:
        encoding: of the file.
        sha256: of the file; known when the scan is over.
        outermost: what the file holds, once known: "dict", "list", "int"...
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        start = self._file.read(4)
        mark, self.encoding = next(
            ((m, name) for m, name in BYTE_ORDER_MARKS if start.startswith(m)),
            (b"", json.detect_encoding(start)),
        )
        self._file.seek(0)
        self.outermost = "dict"
        self._digest = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder(self.encoding)("surrogatepass")
        self._decode_value = json.JSONDecoder().raw_decode
        self._text = ""  # a window of the file, and where in it we are
        self._at = 0
        self._place = (0, len(mark))  # character of the window, and its byte in the file
        self._is_narrow = True  # one byte a character
        self._skipped = 0  # characters before the window, lines, and characters on the last line
        self._lines = 0
        self._column = 0
        self._read = self._feed(len(mark))

    @property
    def sha256(self) -> str:
        """Of the bytes read so far."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Member | Row]:
        """All members of the outer object; of lists, each row after them.

        Raises:
            NotJsonError: when the file is not JSON.
        """
        if self._peek() == "{":
            yield from self._object()
        elif self._peek() == "[":
            self.outermost = "list"
            for _ in self._list(""):
                pass
        else:
            self.outermost = type(self._value()[0]).__name__
        if self._peek():
            raise self._error("Extra data", self._at)
        self._file.close()

    def _object(self) -> Iterator[Member | Row]:
        self._at += 1
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise self._error("Expecting property name enclosed in double quotes", self._at)
            name = self._value()[0]
            if self._peek() != ":":
                raise self._error("Expecting ':' delimiter", self._at)
            self._at += 1
            is_list = self._peek() == "["
            yield Member(name, is_list)
            if is_list:
                yield from self._list(name)
            else:
                self._value()
            if self._ends("}"):
                return

    def _list(self, name: str) -> Iterator[Row]:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield Row(name, *self._value())
            if self._ends("]"):
                return

    def _ends(self, closing: str) -> bool:
        """Step over a comma or the closing bracket; whether it was the latter."""
        found = self._peek()
        if found not in (",", closing) or not found:
            raise self._error("Expecting ',' delimiter", self._at)
        self._at += 1
        return found == closing

    def _peek(self) -> str:
        """The next character that is not space; nothing at the end of the file."""
        while True:
            match = SPACE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _value(self) -> tuple[Any, int, int]:
        """Parse the next value; it, and the bytes where it starts and ends."""
        self._peek()
        while True:
            try:
                value, end = self._decode_value(self._text, self._at)
            except json.JSONDecodeError as error:
                message, at = error.msg, error.pos
            else:
                if end + LONGEST_NUMBER_END <= len(self._text) or not self._more():
                    start = self._byte(self._at)
                    self._at = end
                    return value, start, self._byte(end)
                continue
            # What is wrong far from the end of the window stays wrong, but for open strings.
            is_final = at + 100 < len(self._text) and not message.startswith("Unterminated")
            if is_final or not self._more():
                raise self._error(message, at)

    def _more(self) -> bool:
        """Move the window on, from where we are to a chunk further; False at the file's end."""
        new = next(self._read, None)
        if new is None:
            return False
        self._byte(self._at)
        self._place = (0, self._place[1])
        lines = self._text.count("\n", 0, self._at)
        if lines:
            self._column = self._at - self._text.rindex("\n", 0, self._at) - 1
        else:
            self._column += self._at
        self._lines += lines
        self._skipped += self._at
        self._text = self._text[self._at :] + new
        self._at = 0
        self._is_narrow = self.encoding == "utf-8" and self._text.isascii()
        return True

    def _feed(self, mark: int) -> Iterator[str]:
        """The text of the file, in chunks; larger ones where a row does not fit in."""
        taken = 0
        while block := self._file.read(max(CHUNK, len(self._text))):
            self._digest.update(block)
            yield self._decoded(block[mark if not taken else 0 :], taken + len(block))
            taken += len(block)
        rest = self._decoded(b"", taken, final=True)
        if rest:
            yield rest

    def _decoded(self, block: bytes, taken: int, final: bool = False) -> str:
        try:
            return self._decoder.decode(block, final)
        except UnicodeDecodeError as error:
            at = taken - len(error.object) + error.start
            raise NotJsonError(f"byte {at} is not {error.encoding} ({error.reason})") from error

    def _byte(self, at: int) -> int:
        """The byte in the file of a character of the window, which is not before the last one."""
        character, byte = self._place
        if self._is_narrow:
            byte += at - character
        else:
            byte += len(self._text[character:at].encode(self.encoding, "surrogatepass"))
        self._place = (at, byte)
        return byte

    def _error(self, message: str, at: int) -> NotJsonError:
        before = self._text[:at]
        lines = before.count("\n")
        column = at - before.rindex("\n") if lines else self._column + at + 1
        where = f"line {self._lines + lines + 1} column {column} (char {self._skipped + at})"
        return NotJsonError(f"{message}: {where}")
