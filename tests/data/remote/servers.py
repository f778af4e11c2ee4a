"""Real servers on loopback: nginx, moto's S3, and a proxy in front of either that does harm."""

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Self

import boto3

LOOPBACK = "127.0.0.1"
STARTED_WITHIN = 60  # seconds
BUCKET = "bucket"
S3_KEYS = {"key": "test", "secret": "test"}

NGINX = """
daemon off;
worker_processes 1;
{user}
pid {prefix}/nginx.pid;
error_log {prefix}/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    log_format paths '$uri $status';
    access_log {prefix}/access.log paths;
    server {{
        listen {address}:{port};
        root {root};
        location /slow/ {{ alias {root}/; limit_rate 10k; }}
        location /busy/ {{ return 503; }}
        location /closed/ {{ return 403; }}
        location /private/ {{ if ($http_x_token != mine) {{ return 401; }} alias {root}/; }}
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        return server.getsockname()[1]


class Server:
    """A process that listens on a port, until the block ends."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.port = port
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + STARTED_WITHIN
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"{command[0]} does not start: {log.read_text()}")
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex((LOOPBACK, self.port)) == 0

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(STARTED_WITHIN)


class Nginx(Server):
    """The web server, with the files of a folder; it logs each request."""

    def __init__(self, root: Path, prefix: Path) -> None:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("These tests need nginx: apt-get install nginx-light.")
        port = free_port()
        config = prefix / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            NGINX.format(prefix=prefix, root=root, address=LOOPBACK, port=port, user=user)
        )
        self.access_log = prefix / "access.log"
        super().__init__(
            [program, "-p", str(prefix), "-c", str(config)], port, prefix / "output.log"
        )
        self.url = f"http://{LOOPBACK}:{port}"

    def requests(self, part: str) -> int:
        """How often files were asked for whose path contains `part`."""
        return sum(part in line for line in self.access_log.read_text().splitlines())


class S3Server(Server):
    """moto's S3 server with one bucket."""

    def __init__(self, prefix: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
        super().__init__(command, port, prefix / "moto.log")
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://{LOOPBACK}:{port}",
            region_name="us-east-1",
            aws_access_key_id=S3_KEYS["key"],
            aws_secret_access_key=S3_KEYS["secret"],
        )
        self.client.create_bucket(Bucket=BUCKET)

    def upload(self, folder: Path) -> str:
        """Store a shard set; its URL."""
        for path in folder.iterdir():
            self.client.upload_file(str(path), BUCKET, f"{folder.name}/{path.name}")
        return f"s3://{BUCKET}/{folder.name}"


class FaultyProxy:
    """Passes each request on to a server and answers what the server does, but for the faults.

    One request per connection. Runs in a thread of the test.
    """

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.asked: list[str] = []  # the path of each request
        self._faults: dict[str, deque[str]] = defaultdict(deque)
        self._always: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._serve, LOOPBACK, 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{LOOPBACK}:{self.port}"

    def once(self, part: str, *faults: str) -> Self:
        """Let the next requests whose path contains `part` go wrong, one fault each."""
        self._faults[part].extend(faults)
        return self

    def always(self, part: str, fault: str) -> Self:
        """Let every request whose path contains `part` go wrong."""
        self._always[part] = fault
        return self

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _fault_of(self, path: str) -> str:
        for part, faults in self._faults.items():
            if part in path and faults:
                return faults.popleft()
        return next((fault for part, fault in self._always.items() if part in path), "")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split()[1].decode()
            self.asked.append(path)
            fault = self._fault_of(path)
            if fault.isdigit():
                writer.write(f"HTTP/1.1 {fault} Harm\r\nContent-Length: 0\r\n\r\n".encode())
            elif fault == "reset":
                _reset(writer)
            elif fault == "stall":
                await reader.read()  # until the client gives up
            else:
                await self._answer(request, fault, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _answer(
        self,
        request: bytes,
        fault: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        head, body = await self._ask(request)
        middle = len(body) // 2
        if fault == "corrupt":
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        if fault == "shorter":
            body = body[:middle]
        if fault == "longer":
            body += b"x"
        if fault in ("shorter", "longer"):
            head = _with_length(head, len(body))
        if fault.endswith("midway"):
            body = body[:middle]
        writer.write(head + body)
        await writer.drain()
        if fault == "reset midway":
            await asyncio.sleep(0.05)  # the half arrives first
            _reset(writer)
        if fault == "stall midway":
            await reader.read()

    async def _ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the server's answer."""
        first, _, rest = request.partition(b"\r\n")
        lines = [line for line in rest.split(b"\r\n") if not line.lower().startswith(b"connection")]
        reader, writer = await asyncio.open_connection(LOOPBACK, self.upstream)
        writer.write(b"\r\n".join([first, b"Connection: close", *lines]))
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n", body


def _reset(writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)  # closing sends RST
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _with_length(head: bytes, length: int) -> bytes:
    return b"\r\n".join(
        b"Content-Length: %d" % length if line.lower().startswith(b"content-length") else line
        for line in head.split(b"\r\n")
    )
