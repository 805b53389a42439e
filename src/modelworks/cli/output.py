"""Print a command's result, as text or as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from modelworks.errors import ModelworksError
from modelworks.training.machine.precision import explained

__all__ = ["print_error", "print_json", "print_summary", "print_table", "print_warning"]


def print_json(value: Any) -> None:  # any JSON value
    """Print one JSON object to stdout; everything else goes to stderr."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings.

    Columns are never truncated and are separated by two spaces.
    """
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_warning(message: str, hint: str = "") -> None:
    """Print a warning and its hint to stderr."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.print(Text("warning: ", style="bold yellow") + Text(message, style=""), soft_wrap=True)
    if hint:
        console.print(Text(f"  {hint}", style="dim"), soft_wrap=True)


def print_error(error: ModelworksError) -> None:
    """Print an error's message and code, and its hint on the next line, to stderr."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    prefix = "error" if error.exit_code != 3 else "refused"
    first, *rest = error.message.splitlines() or [""]
    line = Text(f"{prefix}: ", style="bold red") + Text(first, style="") + Text(f"  [{error.code}]", style="dim")
    console.print(line, soft_wrap=True)
    for each in rest:
        console.print(Text(each), soft_wrap=True)
    if error.hint:
        console.print(Text(f"  {error.hint}", style="dim"), soft_wrap=True)


def print_summary(summary: Mapping[str, Any], links: Mapping[str, str]) -> None:
    """Print the result of a run: a table on a terminal, plain lines otherwise."""
    rows = list(_rows(summary))
    if sys.stdout.isatty():
        _print_panel(summary, rows, links)
        return
    print()
    lines = [*rows, *links.items()]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}} {value}")


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = summary["rows"]
    counts = ", ".join(f"{rows[name]:,} {name}" for name in ("train", "validation", "test"))
    passed = sum(summary["checks"].values())
    left_out = f", {summary['quarantined']:,} rows left out" if summary["quarantined"] else ""
    production = f"version {summary['production']}" if summary["production"] else "none"
    return [
        ("data", f"{summary['data']} {summary['data_version']}"),
        ("rows", counts + left_out),
        ("checks", f"{passed} of {len(summary['checks'])} passed"),
        *(("warning", warning) for warning in summary["warnings"]),
        *(
            (
                name,
                f"{each['value']:.4f}  {each['confidence']:.0%} interval {each['low']:.4f} to {each['high']:.4f}"
                + (f", trivial baseline {summary['baseline'][name]:.4f}" if name in summary["baseline"] else ""),
            )
            for name, each in summary["metrics"].items()
        ),
        ("verdict", summary["verdict"]),
        *(("", f"- {reason}") for reason in summary["reasons"]),
        *(("remark", each) for each in summary["remarks"]),
        ("registered", f"{summary['model']} version {summary['version']}"),
        ("production", production),
        ("hardware", _hardware(summary["hardware"])),
        ("stages", ", ".join(f"{name} {outcome}" for name, outcome in summary["stages"].items())),
        ("seconds", f"{summary['seconds']:.1f}"),
    ]


def _hardware(hardware: Mapping[str, Any]) -> str:
    """Return the device, the precision and how the precision was chosen."""
    reason = explained(hardware["precision_source"], hardware["product_rates"])
    return f"{hardware['device']} {hardware['precision']}" + (f": {reason}" if reason else "")


def _print_panel(summary: Mapping[str, Any], rows: list[tuple[str, str]], links: Mapping[str, str]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    colours = {"promote": "green", "reject": "red", "inconclusive": "yellow"}
    for name, value in rows:
        style = colours.get(value, "") if name == "verdict" else "yellow" if name == "warning" else ""
        table.add_row(name, Text(value, style=style))
    for name, value in links.items():
        table.add_row(name, Text(value, style="cyan"))
    Console().print(Panel(table, title=f"[bold]{summary['model']}[/]", title_align="left", expand=False))
