"""The gate page as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks import html_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.evaluation.gate.slices import Slice
    from modelworks.evaluation.reports.previews import Row
    from modelworks.records import Verdict

__all__ = ["render"]

MOST = 40
"""Maximum number of slices in the table."""

BODY = """\
<p style="margin-top: .8rem"><span class="badge {{ colour }}">{{ verdict.decision }}</span></p>
<h2>Checks</h2>
<div class="scroll"><table>
<tr><th></th><th>what</th><th>observed</th><th>required</th></tr>
{%- for check in verdict.checks %}
<tr><td class="{{ "promote" if check.passed else "reject" }}">{{ "passed" if check.passed else "failed" }}</td>
<td>{{ check.name }}</td><td>{{ check.observed }}</td><td>{{ check.required }}
{%- if check.hint and not check.passed %}<p>{{ check.hint }}</p>{% endif %}</td></tr>
{%- endfor %}
</table></div>
{%- if verdict.remarks %}
<ul>{% for remark in verdict.remarks %}<li>{{ remark }}</li>{% endfor %}</ul>
{%- endif %}
{%- if changes %}
<h2>What changes for users</h2>
<div class="share">
{%- for name in ("fixed", "broken", "otherwise") if changes[name] %}
<i class="{{ name }}" style="width: {{ "%.2f" % (100 * changes[name] / changes.rows) }}%"></i>
{%- endfor %}
</div>
<table>
<tr><th></th><th class="number">test rows</th><th class="number">share</th></tr>
{%- for name, words in kinds.items() %}
<tr><td><span class="key {{ name }}"></span>{{ words }}</td><td class="number">{{ "{:,}".format(changes[name]) }}</td>
<td class="number">{{ "%.2f" % (100 * changes[name] / changes.rows) }} %</td></tr>
{%- endfor %}
<tr><td>answered differently (churn)</td>
<td class="number">{{ "{:,}".format(changes.fixed + changes.broken + changes.otherwise) }}</td>
<td class="number">{{ "%.2f" % (100 * changes.churn) }} %</td></tr>
</table>
{%- endif %}
{%- if pictures %}
<div class="side">
{%- for name, data in pictures.items() %}
<img alt="{{ name }}" src="{{ data }}">
{%- endfor %}
</div>
{%- endif %}
{%- if images %}
<img alt="Worsened" src="{{ images }}">
{%- endif %}
{%- for by, slices in columns.items() %}
<h2>By {{ by }}</h2>
<div class="scroll"><table>
<tr><th>{{ by }}</th><th class="number">rows</th><th class="number">{{ measure }}</th>
{%- if changes %}<th class="number">version {{ verdict.baseline }}</th><th class="number">gain</th>
<th class="number">interval</th><th class="number">improved</th><th class="number">worsened</th>{% endif %}</tr>
{%- for each in slices[:most] %}
<tr><td class="text">{{ each.value }}</td><td class="number">{{ "{:,}".format(each.rows) }}</td>
<td class="number">{{ "%.4f" % each.score }}</td>
{%- if changes %}<td class="number">{{ "%.4f" % each.baseline }}</td>
<td class="number">{{ "%+.4f" % (each.gain) }}</td>
<td class="number">{% if each.difference %}{{ "%+.4f" % each.difference.low }} to {{ "%+.4f" % each.difference.high }}
{%- else %}too few rows{% endif %}</td>
<td class="number">{{ each.fixed }}</td><td class="number">{{ each.broken }}</td>{% endif %}</tr>
{%- endfor %}
</table></div>
{%- if slices|length > most %}<p>and {{ "{:,}".format(slices|length - most) }} more in verdict.json</p>{% endif %}
{%- endfor %}
{%- if texts %}
<h2>Worsened rows</h2>
<div class="scroll"><table>
<tr><th>row</th><th>text</th><th>truth</th><th>answer now</th><th class="number"></th></tr>
{%- for each in texts %}
<tr><td><code>{{ each.id[:12] }}</code></td><td class="text">{{ each.preview }}</td>
<td class="right">{{ each.truth }}</td><td class="wrong">{{ each.answer }}</td>
<td class="number">{{ each.remark }}</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
"""

KINDS = {
    "fixed": "improved",
    "broken": "worsened",
    "otherwise": "changed otherwise",
}
COLOURS = {"promote": "promote", "reject": "reject", "inconclusive": "open"}


def render(
    verdict: Verdict,
    slices: Sequence[Slice],
    measure: str,
    texts: Sequence[Row],
    images: Path | None,
    pictures: Mapping[str, Path],
) -> str:
    """Return the page.

    Args:
        verdict: with its checks, remarks and changes.
        slices: of all columns.
        measure: name of the slices' score.
        texts: rows with a lower score than in production, for texts.
        images: a PNG file of these rows, for images.
        pictures: further PNG files by name. All are embedded in the page.
    """
    version = verdict.version
    columns: dict[str, list[Slice]] = {}
    for each in slices:
        columns.setdefault(each.by, []).append(each)
    basis = f"against version {verdict.baseline} on the same" if verdict.baseline else "without a comparison on"
    values: dict[str, Any] = {
        "verdict": verdict,
        "colour": COLOURS[verdict.decision],
        "changes": verdict.changes,
        "kinds": KINDS,
        "columns": columns,
        "most": MOST,
        "measure": measure,
        "texts": texts,
        "images": html_page.embedded(images) if images else "",
        "pictures": {name: html_page.embedded(path) for name, path in pictures.items()},
    }
    return html_page.fill(
        BODY,
        title=f"{version.name} version {version.version}: the gate's verdict",
        subtitle=f"Judged {basis} {version.evaluation.rows:,} test rows",
        **values,
    )
