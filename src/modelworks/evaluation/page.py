"""The report as one self-contained HTML page: everything that came from the data is escaped."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.records import Interval

__all__ = ["render"]

TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { color: #616e7c; margin: .2rem 0 }
/* The pictures bring their own headings and margins. */
img { display: block; max-width: 100%; height: auto; margin: 1.4rem 0 0 -26px }
table { border-collapse: collapse } th { text-align: left; white-space: nowrap; color: #616e7c; font-weight: 600 }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #e4e7eb; vertical-align: top }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { width: 9rem }
.bar i { display: block; height: .55rem; margin-top: .45rem; border-radius: 2px; background: #5b8fc4 }
.right { color: #1d4e89 } .wrong { color: #b8400e; font-weight: 600 } .text { overflow-wrap: anywhere }
.scroll { overflow-x: auto }
</style>
<h1>{{ title }}</h1>
<p>{{ subtitle }}</p>
<h2>Metrics</h2>
<table>
<tr><th>metric</th><th class="number">value</th><th class="number">{{ confidence }} interval</th></tr>
{%- for name, found in metrics.items() %}
<tr><td>{{ name.replace("_", " ").replace("f1", "F1") }}</td><td class="number">{{ "%.4f" % found.value }}</td>
<td class="number">{{ "%.4f" % found.low }} to {{ "%.4f" % found.high }}</td></tr>
{%- endfor %}
</table>
<h2>Per class</h2>
<div class="scroll"><table>
<tr><th>class</th><th class="number">rows</th><th class="number">precision</th><th class="number">recall</th>
<th class="number">F1</th><th class="bar"></th></tr>
{%- for row in per_class %}
<tr><td class="text">{{ row.class }}</td><td class="number">{{ "{:,}".format(row.rows) }}</td>
<td class="number">{{ "%.4f" % row.precision }}</td><td class="number">{{ "%.4f" % row.recall }}</td>
<td class="number">{{ "%.4f" % row.f1 }}</td>
<td class="bar"><i style="width: {{ "%.1f" % (100 * row.f1) }}%"></i></td></tr>
{%- endfor %}
</table></div>
{%- if texts %}
<h2>Worst mistakes</h2>
<div class="scroll"><table>
<tr><th>text</th><th>is</th><th>taken for</th><th class="number">sure</th></tr>
{%- for row in texts %}
<tr><td class="text">{{ row.text }}</td><td class="right">{{ row.label }}</td><td class="wrong">{{ row.predicted }}</td>
<td class="number">{{ "%.1f" % (100 * row.probability) }} %</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
{%- for name, data in pictures.items() %}
<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">
{%- endfor %}
</html>
"""


def render(
    title: str,
    subtitle: str,
    metrics: Mapping[str, Interval],
    per_class: Sequence[Mapping[str, Any]],
    texts: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Path],
) -> str:
    """The page; `pictures` maps names to PNG files, which become part of it."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    return template.render(
        title=title,
        subtitle=subtitle,
        confidence=f"{100 * next(iter(metrics.values())).confidence:g} %",
        metrics=metrics,
        per_class=per_class,
        texts=texts,
        pictures={name: base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()},
    )
