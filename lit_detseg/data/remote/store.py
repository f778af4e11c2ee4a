"""Bytes from a remote store, as they come: the only file that speaks to one, through fsspec.

Each transfer has an event loop and a client of its own and leaves nothing behind: no thread, no
connection. fsspec's own synchronous interface runs one thread for the whole process, which a forked
loader worker does not have.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lit_detseg.structures import UserError

CHUNK = 2**20  # bytes asked for at a time
# Answers to a right request at a wrong time; from 500 on, all are.
TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
# Mistakes, not accidents. By name: botocore is there only with s3fs, aiohttp is imported late.
MISTAKES = (
    "InvalidURL",
    "NonHttpUrlClientError",
    "NoCredentialsError",
    "ParamValidationError",
    "PartialCredentialsError",
)


class TransferError(Exception):
    """A transfer that may succeed when it is tried again; says what went wrong."""


class RefusedError(Exception):
    """A file that trying again does not bring; says why."""


def stream(
    url: str,
    write: Callable[[bytes], object],
    timeout: float,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Hand a file to `write`, piece by piece, from its first byte to its last.

    Args:
        url: `https://`, `http://`, `s3://`, `file://`, or of another asynchronous file system that
            fsspec knows.
        write: called with each piece; what it raises ends the transfer and is passed on.
        timeout: seconds to wait for the first piece, and for each further one.
        options: of the fsspec file system (`endpoint_url`, `key`, `anon`, `client_kwargs` ...).

    Raises:
        TransferError: when it may help to try again.
        RefusedError: when it does not.
        UserError: when no file system can be made from URL and options.
    """
    if url.startswith("file://"):
        return _read_file(url2pathname(urlsplit(url).path), write)
    transfer = _transfer(url, write, timeout, dict(options or {}))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(transfer)
    with ThreadPoolExecutor(1) as pool:  # in a notebook, where a loop runs already
        return pool.submit(asyncio.run, transfer).result()


def _read_file(path: str, write: Callable[[bytes], object]) -> None:
    with _faults():
        file = open(path, "rb")  # noqa: SIM115
    with file:
        while True:
            with _faults():
                piece = file.read(CHUNK)
            if not piece:
                return
            write(piece)


async def _transfer(
    url: str, write: Callable[[bytes], object], timeout: float, options: dict[str, Any]
) -> None:
    system = _file_system(url, timeout, options)
    is_http = urlsplit(url).scheme in ("http", "https")
    session = file = None
    try:
        with _faults():
            async with asyncio.timeout(timeout):
                if hasattr(system, "set_session"):
                    session = await system.set_session()
                path = system._strip_protocol(url)
                # HTTP would ask for the size first, and loses the options of the request.
                file = await system.open_async(path, "rb", **({"size": -1} if is_http else {}))
                if is_http:
                    file.kwargs = system.kwargs
        while True:
            with _faults():
                async with asyncio.timeout(timeout):
                    piece = await file.read(CHUNK)
            if not piece:
                return
            write(piece)
    finally:
        for opened in (file, session):
            if opened is not None:
                with suppress(Exception):  # what was transferred, or went wrong, is known already
                    async with asyncio.timeout(timeout):
                        await opened.close()


def _file_system(url: str, timeout: float, options: dict[str, Any]) -> Any:
    """One that does not try again by itself: `fetching.persist` does, and counts."""
    import fsspec

    protocol = urlsplit(url).scheme
    try:
        with_defaults = _with_defaults(protocol, timeout, options)
        system = fsspec.filesystem(
            protocol, asynchronous=True, skip_instance_cache=True, loop=None, **with_defaults
        )
    except ImportError as error:
        extra = " Install it with `pip install lit-detseg[s3]`." if protocol == "s3" else ""
        raise UserError(f"{protocol}:// cannot be read: {error}.{extra}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        given = f" with storage options {', '.join(options)}" if options else ""
        raise UserError(f"{protocol}:// cannot be read{given}: {error}.") from error
    if not hasattr(system, "open_async"):
        raise UserError(
            f"{protocol}:// is not a store that shards can be read from. "
            "Use https://, http://, s3:// or a folder."
        )
    if hasattr(system, "retries"):
        system.retries = 1
    return system


def _with_defaults(protocol: str, timeout: float, options: dict[str, Any]) -> dict[str, Any]:
    """Options in which `timeout` is the only limit of time."""
    if protocol == "s3":
        given = options.get("config_kwargs", {})
        config = {
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "retries": {"total_max_attempts": 1},
        }
        return {**options, "config_kwargs": config | given}
    if protocol in ("http", "https"):
        import aiohttp

        client = {
            "timeout": aiohttp.ClientTimeout(total=None),  # its own is 5 minutes for a whole file
            "read_bufsize": CHUNK,
            "trust_env": True,  # HTTPS_PROXY, as the other tools on a cluster
        }
        return {**options, "client_kwargs": client | options.get("client_kwargs", {})}
    return options


@contextmanager
def _faults() -> Iterator[None]:
    """Say of what goes wrong whether it may go better another time."""
    try:
        yield
    except Exception as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    status = getattr(error, "status", None)  # of aiohttp's answers; 404 is a FileNotFoundError
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return RefusedError("there is no such file (404)")
    if isinstance(error, PermissionError):
        return RefusedError(f"access is denied ({error.strerror or error})")
    if isinstance(status, int) and status:
        reason = f"{status} {getattr(error, 'message', '')}".strip()
        transient = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in TRANSIENT
        return TransferError(reason) if transient else RefusedError(reason)
    if name in MISTAKES or isinstance(error, (TypeError, ImportError)):
        return RefusedError(f"{name}: {error}")
    if name.endswith("ReadTimeoutError") or (isinstance(error, TimeoutError) and not str(error)):
        return TransferError("no byte came in time")
    return TransferError(f"{name}: {error}".removesuffix(": "))
