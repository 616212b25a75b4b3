"""Calls of the service to the API of its server."""

from dataclasses import dataclass, field
from typing import Any

import httpx

PAGE = 200
"""How many objects Prefect gives at a time."""


@dataclass(frozen=True)
class Api:
    """The REST API of a Prefect server.

    Attributes:
        url: its address, which ends in /api.
        secret: user:password, empty where none is asked for.
        seconds: how long it may take to answer.
    """

    url: str
    secret: str = ""
    seconds: float = 30.0
    _client: httpx.Client = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        user, colon, password = self.secret.partition(":")
        auth = (user, password) if colon else None
        object.__setattr__(self, "_client", httpx.Client(auth=auth, timeout=self.seconds))

    def request(self, verb: str, path: str, body: Any = None) -> Any:
        """Call an endpoint and return what it answers, None for nothing.

        Raises:
            httpx.HTTPError: the server does not answer, or refuses.
        """
        answer = self._client.request(verb, f"{self.url}/{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def post(self, path: str, body: Any) -> Any:
        """Post a body to an endpoint and return what it answers."""
        return self.request("POST", path, body)

    def all(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Every object that a filter finds, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.post(path, {**body, "limit": PAGE, "offset": len(found)})
            found += page
            if len(page) < PAGE:
                return found

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            self.request("GET", "health")
        except httpx.HTTPError:
            return False
        return True
