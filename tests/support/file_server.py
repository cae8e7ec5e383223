"""A web server with files, on this machine, that can also answer as a failing one does."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Answer:
    """What the server answers for one path.

    Args:
        content: the body.
        code: of HTTP.
        headers: beside Content-Length.
        length: a Content-Length other than the body's; None sends none.
    """

    def __init__(
        self, content: bytes = b"", code: int = 200, headers: dict[str, str] | None = None, length: int | None = -1
    ) -> None:
        self.content, self.code, self.headers = content, code, headers or {}
        self.length = len(content) if length == -1 else length


class FileServer(ThreadingHTTPServer):
    """Answers with what `answers` holds by path; 404 for other paths. `asked` are the paths so far."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path, Answer(code=404))
        self.send_response(answer.code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length is not None:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def running_file_server() -> Iterator[FileServer]:
    """Run a server in a thread while the block runs."""
    with FileServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
