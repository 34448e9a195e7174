"""Who may ask: pages that this server sent, on this machine, with the token of the printed address."""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-featvis-token"
"""What carries the token where no browser keeps a cookie."""
POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Lets requests through that come from where they say and know the token; all others get one line."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost"}
        self._origins = {f"http://{host}" for host in self._hosts}
        # Cookies are of a host, whatever its port: two explorers have two.
        self.cookie = f"featvis-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        reason = self._refuse(scope)
        if reason:
            await PlainTextResponse(reason + "\n", 403)(scope, receive, send_guarded)
            return
        if scope["path"] == "/" and self._in_address(scope):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self._token, httponly=True, samesite="strict")
            await answer(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _refuse(self, scope: Scope) -> str:
        """Return why a request is refused; empty if it is not."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._hosts:
            return "this is not the host that was asked for"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            return "a page of another origin may not ask"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "a page of another site may not ask"
        by_header = self._is_token(headers.get(HEADER, ""))
        if scope["method"] not in ("GET", "HEAD") and origin is None and not by_header:
            return "what changes something tells its origin, or the token in a header"
        if by_header or self._is_token(self._in_cookie(headers)):
            return ""
        if scope["path"] == "/" and scope["method"] == "GET" and self._in_address(scope):
            return ""
        return "the token is missing or wrong; open the address that featvis serve printed"

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())

    def _in_address(self, scope: Scope) -> bool:
        query = scope["query_string"].decode("latin-1")
        return any(self._is_token(text) for text in parse_qs(query, max_num_fields=8).get("token", []))

    def _in_cookie(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value
