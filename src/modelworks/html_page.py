"""Render reports as one self-contained HTML file. Values are escaped."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["embedded", "fill"]

CAPITALS = {"auc": "AUC", "f1": "F1", "mae": "MAE", "r2": "R2", "rmse": "RMSE", "roc": "ROC"}
"""Words of metric names that are not displayed in lower case."""

FRAME = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { color: #616e7c; margin: .2rem 0 }
/* The plots have their own titles and margins. */
img { display: block; max-width: 100%; height: auto; margin: 1.4rem 0 0 -26px }
table { border-collapse: collapse } th { text-align: left; white-space: nowrap; color: #616e7c; font-weight: 600 }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #e4e7eb; vertical-align: top }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { width: 9rem }
.bar i { display: block; height: .55rem; margin-top: .45rem; border-radius: 2px; background: #5b8fc4 }
.right { color: #1d4e89 } .wrong { color: #b8400e; font-weight: 600 } .text { overflow-wrap: anywhere }
.scroll { overflow-x: auto }
.promote { color: #1d6b3a } .reject { color: #b8400e } .open { color: #8a6100 }
.badge { border: 1px solid; border-radius: 1rem; padding: .05rem .7rem; font-size: .85em; font-weight: 600; white-space: nowrap }
.side { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: flex-start }
.side img { max-width: min(100%, 29rem) }
.share { display: flex; height: 1.1rem; border-radius: 3px; overflow: hidden; background: #e4e7eb; margin: .8rem 0 .4rem }
.share i { display: block; min-width: 2px } .fixed { background: #5b8fc4 } .broken { background: #ee8a4f }
.otherwise { background: #9aa5b1 }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .35rem }
ul { margin: .2rem 0; padding-left: 1.2rem }
</style>
<h1>{{ title }}</h1>
<p>{{ subtitle }}</p>
{% block body %}{% endblock %}
</html>
"""


def fill(body: str, *, title: str, subtitle: str, **values: Any) -> str:  # any value that the template uses
    """Render a page.

    Args:
        body: a Jinja template of the part below the heading.
        title: plain text.
        subtitle: plain text.
        values: the template's variables.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    pages = {"frame": FRAME, "page": "{% extends 'frame' %}{% block body %}" + body + "{% endblock %}"}
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=DictLoader(pages))
    environment.filters["words"] = _words
    return environment.get_template("page").render(title=title, subtitle=subtitle, **values)


def _words(name: str) -> str:
    """Return a metric or column name for display: `macro_f1` becomes `macro F1`."""
    return " ".join(CAPITALS.get(word, word) for word in name.split("_"))


def embedded(picture: Path) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
