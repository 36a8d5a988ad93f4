"""One flat archive of the records that a store gains: what a lent machine leaves behind.

``KEY.json`` and ``KEY.failed.json`` side by side in a zip, with texts such as ``tests.txt``. It is
written beside its place and renamed, so that it is whole at every moment, ``kill -9`` or not.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slt_bench.errors import UsageError
from slt_bench.store import Store

_SECONDS = 2.0  # between two looks at the store
_FAILED = ".failed.json"

Stamp = tuple[int, int]


class Archive:
    """The archive of what a store gains from now on; what an earlier one holds stays in it.

    Raises:
        UsageError: the file exists and is no zip, or it cannot be written.
    """

    def __init__(self, path: Path, store: Store) -> None:
        self.path, self.store = path, store
        self.entries: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.seen = self._stamps()
        try:
            if path.exists():
                with zipfile.ZipFile(path) as earlier:
                    self.entries = {name: earlier.read(name) for name in earlier.namelist()}
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write()
        except zipfile.BadZipFile:
            raise UsageError(f"{path} exists and is no zip: give another --archive") from None
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None

    @property
    def record_count(self) -> int:
        """Finished records and failures in the archive."""
        return sum(name.endswith(".json") and len(name) > 64 for name in self.entries)

    def add(self, name: str, text: str) -> None:
        """Write a text into the archive, in place of an earlier one of that name."""
        with self.lock:
            self.entries[name] = text.encode()
            self._write()

    def update(self) -> None:
        """Take in what the store has gained since the last look."""
        with self.lock:
            stamps = self._stamps()
            changed = [path for path, stamp in stamps.items() if self.seen.get(path) != stamp]
            for path in changed:
                try:
                    self.entries[path.name] = path.read_bytes()
                except FileNotFoundError:
                    continue
                if not path.name.endswith(_FAILED):  # success takes a failure away
                    self.entries.pop(f"{path.stem}{_FAILED}", None)
            if changed:
                self._write()
            self.seen = stamps

    @contextmanager
    def kept_up_to_date(self, say: Callable[[str], None]) -> Iterator[None]:
        """Look at the store every other second while other code runs, and once at the end."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_SECONDS):
                try:
                    self.update()
                except OSError as error:  # the next look may do better
                    say(f"cannot write {self.path}: {error}")

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self.update()

    def _stamps(self) -> dict[Path, Stamp]:
        found: dict[Path, Stamp] = {}
        for path in self.store.results.glob("*/*/*/[!.]*.json"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # a failure that success took away meanwhile
                continue
            found[path] = (stat.st_mtime_ns, stat.st_size)
        return found

    def _write(self) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, content in sorted(self.entries.items()):
                        entry = zipfile.ZipInfo(name)  # without a time: the same bytes again
                        entry.external_attr = 0o644 << 16
                        archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
