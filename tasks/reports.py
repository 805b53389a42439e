"""Render HTML pages beside the stages. A page that fails is reported, and the run continues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelworks.errors import Interrupted, ModelworksError
from modelworks.pipeline.cache_keys import confirm_sources
from modelworks.pipeline.change_guard import confirmed
from modelworks.pipeline.plan import Plan
from modelworks.pipeline.reports import find_report, report_store
from tasks.context import RunContext

__all__ = ["reporting_failures", "show"]


def show(run: RunContext, plan: Plan, name: str, render: Callable[[Path], None]) -> None:
    """Render a page unless it is stored, and upload it to the MLflow run.

    Args:
        run: the current run.
        plan: the plan that has the page's key.
        name: the page's name (see `modelworks.pipeline.reports`).
        render: writes the page to an empty folder.
    """
    from modelworks.registry.tracking.runs import log_report

    page = find_report(plan, name)
    assert page is not None, f"{name} was requested before its stage finished"
    store = report_store(run.project)
    missing = store.state(name, page.key) != "intact"
    if missing:
        with (
            reporting_failures(run, name),
            store.write(name, page.key, page.ingredients) as temporary,
            confirmed(lambda: confirm_sources(page.ingredients)),
        ):
            render(temporary)
    run.pages.append(page)
    # A run that only renders pages has no MLflow run: they go to the run of the version.
    target = run.run_id or (run.version_run_id if missing else "")
    if target and store.folder(name, page.key).is_dir():
        log_report(run.client, target, name, store.folder(name, page.key))


@contextmanager
def reporting_failures(run: RunContext, name: str) -> Iterator[None]:
    """Show why a page could not be rendered and continue, because nothing depends on it."""
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:  # no failure of a page may end the run
        reason = error.message if isinstance(error, ModelworksError) else f"{type(error).__name__}: {error}"
        run.display.print(f"  {name.replace('_', ' ')}: could not be rendered: {reason}: the next run tries again")
