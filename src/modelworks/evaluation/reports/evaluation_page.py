"""The evaluation page as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks import html_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.evaluation.near_duplicates.search import NearDuplicates
    from modelworks.evaluation.reports.previews import Row
    from modelworks.objectives.figures import Table
    from modelworks.records import Interval

__all__ = ["render"]

BODY = """\
<h2>Metrics</h2>
<table>
<tr><th>metric</th><th class="number">value</th><th class="number">{{ confidence }} interval</th>
<th class="number">trivial baseline</th></tr>
{%- for name, found in metrics.items() %}
<tr><td>{{ name | words }}</td><td class="number">{{ "%.4f" % found.value }}</td>
<td class="number">{{ "%.4f" % found.low }} to {{ "%.4f" % found.high }}</td>
<td class="number">{% if name in baseline %}{{ "%.4f" % baseline[name] }}{% endif %}</td></tr>
{%- endfor %}
</table>
{%- for table in tables %}
<h2>{{ table.title }}</h2>
<div class="scroll"><table>
<tr>{% for name, value in table.rows[0].items() %}<th{% if value is number %} class="number"{% endif %}>{{ name | words }}</th>{% endfor %}
{%- if table.bar %}<th class="bar"></th>{% endif %}</tr>
{%- for row in table.rows %}
<tr>
{%- for value in row.values() %}
{%- if value is float %}<td class="number">{{ "%.4f" % value }}</td>
{%- elif value is number %}<td class="number">{{ "{:,}".format(value) }}</td>
{%- else %}<td class="text">{{ value }}</td>{% endif %}
{%- endfor %}
{%- if table.bar %}<td class="bar"><i style="width: {{ "%.1f" % (100 * row[table.bar]) }}%"></i></td>{% endif %}</tr>
{%- endfor %}
</table></div>
{%- endfor %}
{%- if texts %}
<h2>Worst mistakes</h2>
<div class="scroll"><table>
<tr><th>text</th><th>truth</th><th>answer</th><th class="number"></th></tr>
{%- for row in texts %}
<tr><td class="text">{{ row.preview }}</td><td class="right">{{ row.truth }}</td><td class="wrong">{{ row.answer }}</td>
<td class="number">{{ row.remark }}</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
{%- for name, data in pictures.items() %}
<img alt="{{ name }}" src="{{ data }}">
{%- endfor %}
{%- if repeated.rows %}
<h2>Near-duplicates of training rows</h2>
<p>{{ "{:,}".format(repeated.rows) }} of {{ "{:,}".format(repeated.tested) }} test rows
are near-duplicates of training rows.
{%- if repeated.without %} Without them:
{%- for name, value in repeated.without.items() %} {{ name | words }} {{ "%.4f" % value }}
{{- "." if loop.last else "," }}{% endfor %}{% endif %}</p>
<div class="scroll"><table>
<tr><th>test row</th><th>training row</th><th class="number">similarity</th></tr>
{%- for pair in repeated.examples %}
<tr><td><code>{{ pair.test[:16] }}</code></td><td><code>{{ pair.train[:16] }}</code></td>
<td class="number">{{ "%.3f" % pair.likeness }}</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
"""


def render(
    title: str,
    subtitle: str,
    metrics: Mapping[str, Interval],
    baseline: Mapping[str, float],
    tables: Sequence[Table],
    texts: Sequence[Row],
    repeated: NearDuplicates,
    pictures: Mapping[str, Path],
) -> str:
    """Return the page.

    Args:
        title: plain text.
        subtitle: plain text.
        metrics: of the model.
        baseline: metrics of the trivial baseline.
        tables: of the objective; empty ones are left out.
        texts: the worst mistakes, for texts.
        repeated: near-duplicates of training rows.
        pictures: PNG files by name, embedded in the page.
    """
    return html_page.fill(
        BODY,
        title=title,
        subtitle=subtitle,
        confidence=f"{100 * next(iter(metrics.values())).confidence:g} %",
        metrics=metrics,
        baseline=baseline,
        tables=[table for table in tables if table.rows],
        texts=texts,
        repeated=repeated,
        pictures={name: html_page.embedded(path) for name, path in pictures.items()},
    )
