"""The evaluation's report as one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks import html_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.evaluation.near_duplicates.search import NearDuplicates
    from modelworks.records import Interval

__all__ = ["render"]

BODY = """\
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
<img alt="{{ name }}" src="{{ data }}">
{%- endfor %}
{%- if repeated.rows %}
<h2>Near-duplicates of training rows</h2>
<p>{{ "{:,}".format(repeated.rows) }} of {{ "{:,}".format(repeated.tested) }} test rows nearly repeat a training row.
{%- if repeated.without %} Without them:
{%- for name, value in repeated.without.items() %} {{ name.replace("_", " ").replace("f1", "F1") }} {{ "%.4f" % value }}
{{- "." if loop.last else "," }}{% endfor %}{% endif %}</p>
<div class="scroll"><table>
<tr><th>test row</th><th>training row</th><th class="number">alike</th></tr>
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
    per_class: Sequence[Mapping[str, Any]],
    texts: Sequence[Mapping[str, Any]],
    repeated: NearDuplicates,
    pictures: Mapping[str, Path],
) -> str:
    """The page; `pictures` maps names to PNG files, which become part of it."""
    return html_page.fill(
        BODY,
        title=title,
        subtitle=subtitle,
        confidence=f"{100 * next(iter(metrics.values())).confidence:g} %",
        metrics=metrics,
        per_class=per_class,
        texts=texts,
        repeated=repeated,
        pictures={name: html_page.embedded(path) for name, path in pictures.items()},
    )
