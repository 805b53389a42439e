"""Pagination of MLflow searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.store.entities import PagedList

__all__ = ["all_pages"]

T = TypeVar("T")


def all_pages(search: Callable[[str | None], PagedList[T]]) -> list[T]:
    """Return the results of all pages; `search` takes a page token, None for the first page."""
    results: list[T] = []
    token: str | None = None
    while True:
        page = search(token)
        results.extend(page)
        token = page.token
        if not token:
            return results
