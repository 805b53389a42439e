"""Pages for people, rendered beside the stages: a page that fails is named, and the run goes on."""

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

__all__ = ["naming_failures", "show"]


def show(run: RunContext, plan: Plan, name: str, render: Callable[[Path], None]) -> None:
    """Render a page unless it is there, and upload it to the run that people look at.

    Args:
        run: the run at hand.
        plan: knows the page's key.
        name: of the page (see `modelworks.pipeline.reports`).
        render: fills an empty folder.
    """
    from modelworks.registry.tracking.runs import log_report

    page = find_report(plan, name)
    assert page is not None, f"{name} was asked for before the stage that it shows was done"
    store = report_store(run.project)
    missing = store.state(name, page.key) != "intact"
    if missing:
        with (
            naming_failures(run, name),
            store.write(name, page.key, page.ingredients) as aside,
            confirmed(lambda: confirm_sources(page.ingredients)),
        ):
            render(aside)
    run.pages.append(page)
    # A run that only renders pages anew has no MLflow run of its own: they go where the version's are.
    target = run.run_id or (run.version_run_id if missing else "")
    if target and store.folder(name, page.key).is_dir():
        log_report(run.client, target, name, store.folder(name, page.key))


@contextmanager
def naming_failures(run: RunContext, name: str) -> Iterator[None]:
    """Say what kept a page from being rendered; nothing depends on it, so the run goes on."""
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:  # whatever a page fails by: it must not take the result with it
        reason = error.message if isinstance(error, ModelworksError) else f"{type(error).__name__}: {error}"
        run.display.say(f"  {name.replace('_', ' ')}: it could not be rendered: {reason}: the next run tries again")
