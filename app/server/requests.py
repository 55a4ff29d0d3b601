"""What Gradio leaves open in single requests: how much one may send, and that a visitor who asks is there.

Knows ASGI and Gradio's addresses; knows nothing of the page.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestLimit:
    """Middleware: a request that sends more than ``most`` bytes, or ``uploaded`` where it brings files, is refused with
    413; unread where it says its length, else when it is longer. Gradio limits only each file."""

    def __init__(self, app: ASGIApp, most: int, uploaded: int) -> None:
        self._app, self._most, self._uploaded = app, most, uploaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._uploaded if scope["path"].endswith("/upload") else self._most
        length = dict(scope["headers"]).get(b"content-length", b"")
        said = int(length) if length.isdigit() else 0
        got = 0

        def check(size: int) -> None:
            if size > most:
                raise HTTPException(413, f"A request may send {most:,} bytes.")

        async def counted() -> Message:
            nonlocal got
            check(said)
            message = await receive()
            got += len(message.get("body", b""))
            check(got)
            return message

        await self._app(scope, counted, send)


class Present:
    """Middleware: who waits for an answer is there. Gradio forgets a visitor's values an hour after the connection that
    says so has ended, and the browser opens that one only once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/queue/data"):
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            known = scope["app"].state_holder.session_data.get(session)
            if known is not None:
                known.is_closed = False
        await self._app(scope, receive, send)
