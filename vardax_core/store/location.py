"""Where a store is kept: a local directory, or a prefix in S3."""

import abc
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from vardax_core.paths import is_url, local_path
from vardax_core.store.errors import (
    LocationError,
    NoteChangedError,
    StoreExistsError,
    StoreNotFoundError,
)
from vardax_core.store.files import (
    list_files,
    make_durable,
    replace_file,
    staging_lock,
    storage_errors,
    writer_lock,
)

_S3 = re.compile(r"s3://([^/]+)/(.+?)/*")
NOTE_WAIT = 10.0
"""Seconds to wait for another process that writes the same note."""


class Location(abc.ABC):
    """A place for one store; its string is its URL or path."""

    @abc.abstractmethod
    def directory(self) -> Path:
        """The directory of a local place.

        Raises:
            LocationError: it is not local.
        """

    @abc.abstractmethod
    def storage(self) -> icechunk.Storage:
        """icechunk's handle of the place."""

    @abc.abstractmethod
    def exists(self) -> bool:
        """Whether a repository is there; nothing is made."""

    @abc.abstractmethod
    def lock(self, wait: float) -> AbstractContextManager[None]:
        """The writer lock, where the place needs one.

        Raises:
            StoreBusyError: another process holds it after `wait` seconds.
        """

    @abc.abstractmethod
    def staging(self) -> AbstractContextManager[bool]:
        """Keep objects that no snapshot names yet from `no_staging` elsewhere, in a block."""

    @abc.abstractmethod
    def no_staging(self) -> AbstractContextManager[bool]:
        """Give True where nobody is `staging`, nor begins to before the block ends."""

    @abc.abstractmethod
    def make_durable(self) -> None:
        """Force what was written out of the page cache."""

    @abc.abstractmethod
    def creating(self) -> AbstractContextManager[icechunk.Storage]:
        """The handle under which a new repository is made; it appears when the block ends.

        Raises:
            StoreExistsError: the place is taken.
        """

    @abc.abstractmethod
    def size(self) -> int:
        """Bytes that the store takes."""

    @abc.abstractmethod
    def below(self, *names: str) -> "Location":
        """A place further down."""

    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the folders that lie directly below, sorted; none where there is no such place.

        Raises:
            StorageError: the place cannot be asked.
        """

    @abc.abstractmethod
    def beside(self, name: str) -> "Location":
        """The place of this name in the same folder."""

    @abc.abstractmethod
    def read_note(self, name: str) -> bytes | None:
        """A small file beside the store, or None."""

    @abc.abstractmethod
    def write_note(self, name: str, content: bytes, *, expected: bytes | None) -> None:
        """Replace a small file beside the store, if it is what the caller read.

        Arguments:
            expected: what `read_note` gave.

        Raises:
            NoteChangedError: another process has written it meanwhile.
        """


@dataclass(frozen=True)
class LocalLocation(Location):
    """A directory of the local file system.

    Links to it are other names of one place: lock and notes lie beside the real directory.
    """

    path: Path

    @property
    def _real(self) -> Path:
        return self.path.resolve()

    def __str__(self) -> str:
        return str(self.path)

    def directory(self) -> Path:
        return self.path

    def storage(self) -> icechunk.Storage:
        return icechunk.local_filesystem_storage(str(self.path))

    def exists(self) -> bool:
        # icechunk makes the directory of a storage that it is asked about.
        return (self.path / "refs").is_dir() or (self.path / "repo").is_file()

    def lock(self, wait: float) -> AbstractContextManager[None]:
        with storage_errors(self, "lock"):
            self._real.parent.mkdir(parents=True, exist_ok=True)
        return writer_lock(self._real, wait)

    def staging(self) -> AbstractContextManager[bool]:
        return staging_lock(self._real, alone=False)

    def no_staging(self) -> AbstractContextManager[bool]:
        return staging_lock(self._real, alone=True)

    def make_durable(self) -> None:
        make_durable(self.path)

    @contextmanager
    def creating(self) -> Iterator[icechunk.Storage]:
        if self.path.exists():
            raise StoreExistsError(self)
        target = self._real
        unfinished = target.with_name(f"{target.name}.creating")
        shutil.rmtree(unfinished, ignore_errors=True)
        yield icechunk.local_filesystem_storage(str(unfinished))
        make_durable(unfinished)
        unfinished.rename(target)

    def size(self) -> int:
        return sum(os.stat(f).st_size for f in list_files(self.path))

    def below(self, *names: str) -> "LocalLocation":
        return LocalLocation(self.path.joinpath(*names))

    def names(self) -> tuple[str, ...]:
        with storage_errors(self, "read"):
            there = self.path.iterdir() if self.path.is_dir() else ()
            return tuple(sorted(one.name for one in there if one.is_dir()))

    def beside(self, name: str) -> "LocalLocation":
        # A link to the store may lie elsewhere than what it is a link to.
        place = Path(os.path.abspath(self.path)).with_name(name)
        elsewhere = self.path.is_symlink() and not place.exists()
        return LocalLocation(self._real.with_name(name) if elsewhere else place)

    def _note(self, name: str) -> Path:
        return self._real.with_name(f"{self._real.name}.{name}.json")

    def read_note(self, name: str) -> bytes | None:
        try:
            return self._note(name).read_bytes()
        except FileNotFoundError:
            return None

    def write_note(self, name: str, content: bytes, *, expected: bytes | None) -> None:
        path = self._note(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with writer_lock(path, NOTE_WAIT):
            if self.read_note(name) != expected:
                raise NoteChangedError(path)
            replace_file(path, content)


@dataclass(frozen=True)
class S3Location(Location):
    """A prefix in a bucket; credentials, region and endpoint come from the AWS environment.

    The service's conditional writes take the place of the lock.
    """

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def directory(self) -> Path:
        raise LocationError(str(self))

    def storage(self) -> icechunk.Storage:
        endpoint, region = _endpoint_and_region()
        return icechunk.s3_storage(
            bucket=self.bucket,
            prefix=self.prefix,
            region=region,
            endpoint_url=endpoint,
            allow_http=bool(endpoint and endpoint.startswith("http://")),
            force_path_style=endpoint is not None,
            from_env=True,
        )

    def exists(self) -> bool:
        return icechunk.Repository.exists(self.storage())

    def lock(self, wait: float) -> AbstractContextManager[None]:
        return nullcontext()

    def staging(self) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def no_staging(self) -> AbstractContextManager[bool]:
        return nullcontext(False)

    def make_durable(self) -> None:
        """An object that S3 has acknowledged is durable."""

    @contextmanager
    def creating(self) -> Iterator[icechunk.Storage]:
        yield self.storage()

    def size(self) -> int:
        with storage_errors(self, "read"):
            storage = self.storage()
            return int(icechunk.Repository.open(storage).chunk_storage_stats().native_bytes)

    def below(self, *names: str) -> "S3Location":
        return S3Location(self.bucket, "/".join((self.prefix, *names)))

    def names(self) -> tuple[str, ...]:
        with storage_errors(self, "read"):
            found = obstore.list_with_delimiter(self._objects(), f"{self.prefix}/")
        return tuple(sorted(one.rstrip("/").rpartition("/")[2] for one in found["common_prefixes"]))

    def beside(self, name: str) -> "S3Location":
        return S3Location(self.bucket, "/".join((*self.prefix.split("/")[:-1], name)))

    def _objects(self) -> S3Store:
        endpoint, region = _endpoint_and_region()
        insecure = bool(endpoint and endpoint.startswith("http://"))
        return S3Store(
            self.bucket,
            endpoint=endpoint,
            region=region,
            client_options={"allow_http": insecure},
        )

    def _get_note(self, name: str) -> tuple[bytes | None, str | None]:
        try:
            found = obstore.get(self._objects(), self._note(name))
        except FileNotFoundError:
            return None, None
        return bytes(found.bytes()), found.meta["e_tag"]

    def _note(self, name: str) -> str:
        return f"{self.prefix}.{name}.json"

    def read_note(self, name: str) -> bytes | None:
        with storage_errors(self, "read"):
            return self._get_note(name)[0]

    def write_note(self, name: str, content: bytes, *, expected: bytes | None) -> None:
        where = f"{self}.{name}.json"
        with storage_errors(self, "write to"):
            found, tag = self._get_note(name)
            if found != expected:
                raise NoteChangedError(where)
            mode: Any = "create" if tag is None else {"e_tag": tag}
            try:
                obstore.put(self._objects(), self._note(name), content, mode=mode)
            except (AlreadyExistsError, PreconditionError) as error:
                raise NoteChangedError(where) from error


def _endpoint_and_region() -> tuple[str | None, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return endpoint, region or "us-east-1"


def location_of(place: "str | Path | Location") -> Location:
    """The location that a path, in which `~` is a home, or a URL `s3://bucket/prefix` names.

    Raises:
        LocationError: a URL of another kind, or without a prefix.
        PathError: an empty path, or the home of nobody.
    """
    if isinstance(place, Location):
        return place
    text = str(place).strip()
    in_s3 = _S3.fullmatch(text)
    if in_s3 is not None:
        return S3Location(in_s3[1], in_s3[2])
    if is_url(text):
        raise LocationError(text)
    return LocalLocation(local_path(text, "store"))


def require(location: Location) -> None:
    """Refuse a place without a store.

    Raises:
        StoreNotFoundError: there is none.
        StorageError: the place cannot be asked.
    """
    with storage_errors(location, "open"):
        there = location.exists()
    if not there:
        raise StoreNotFoundError(location)
