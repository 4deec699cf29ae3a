"""A comparison as one small page of its own: no script, no other file, for light and dark screens.

Rule: the same sheet as the text, laid out; everything from a run or a file is escaped by the template engine.
"""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined

from testbed.report.diff import FILLS, MARKS, TONES, Document, sheet

OPEN_ROWS = 40
"""A longer list of cells begins folded."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ s.title }}</title>
<style>
:root { --ink: #1a1a1a; --faint: #5c5c5c; --paper: #fff; --line: #d9d9d9; --panel: #f5f5f3 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --faint: #a5a5a2; --paper: #161718; --line: #3a3c3e; --panel: #202224 }
}
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.3rem; margin: 0 0 .8rem; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 2rem 0 .4rem }
.verdict { border-left: .5rem solid var(--tone); background: var(--panel); padding: .7rem 1rem; font-size: 1.1rem; margin: 0 }
.counts { display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; margin: 1rem 0; padding: 0; list-style: none }
.counts b { font-size: 1.25rem; font-variant-numeric: tabular-nums }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .8rem; margin: 1rem 0 }
dt { font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
.mark { display: inline-block; width: 1.35em; line-height: 1.35em; text-align: center; border-radius: .25em;
  background: var(--tone); color: var(--on); font-weight: 700; font-family: ui-monospace, monospace }
.differences { background: var(--panel); padding: .7rem 1rem }
.differences ul { margin: .3rem 0 0; padding-left: 1.2rem }
.group { border-left: .2rem solid var(--tone); padding-left: .8rem; margin: .6rem 0 1rem }
.note { color: var(--faint); overflow-wrap: anywhere }
summary { cursor: pointer } summary, .head { font-weight: 600; overflow-wrap: anywhere }
.cells { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; margin: .3rem 0 }
th { text-align: left; color: var(--faint); font-weight: 400 }
th, td { padding: .12rem 1.1rem .12rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
</style>
</head>
<body>
<h1>{{ s.title }}</h1>
<p class="verdict" style="--tone: {{ fills[s.tone] }}">{{ s.verdict }}</p>
{% if s.counts %}<ul class="counts">
{% for what, n, tone in s.counts %}<li><b>{{ "{:,}".format(n) }}</b> {{ what }}</li>
{% endfor %}</ul>{% endif %}
<dl>
{% for name, text in s.sides %}<dt>{{ name }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl>
{% if s.differences %}<div class="differences"><b>Not the same subject on both sides</b><ul>
{% for d in s.differences %}<li>{{ d }}</li>
{% endfor %}</ul></div>{% endif %}
{% for section in s.sections %}<section style="--tone: {{ fills[section.tone] }}; --on: {{ on[section.tone] }}">
<h2><span class="mark" title="{{ tones[section.tone] }}">{{ marks[section.tone] }}</span>
{{ section.title }} ({{ "{:,}".format(section.count) }})</h2>
{% for g in section.groups %}<div class="group">
{% if g.rows %}<details{% if g.rows | length <= open_rows %} open{% endif %}><summary>{{ g.head }}</summary>
{% else %}<div class="head">{{ g.head }}</div>{% endif %}
{% for note in g.notes %}<div class="note">{{ note }}</div>
{% endfor %}{% if g.rows %}<div class="cells"><table>
<tr><th>phase<th>sender<th>receiver<th>exchange</tr>
{% for r in g.rows %}<tr><td>{{ r.phase }}<td>{{ r.sender }}<td>{{ r.receiver }}<td>{{ r.exchange }}</tr>
{% endfor %}</table></div></details>{% endif %}
</div>
{% endfor %}</section>
{% endfor %}</body>
</html>
"""
INKS = {"worse": "#fff", "unknown": "#fff", "other": "#1a1a1a", "better": "#fff", "known": "#1a1a1a"}


def render_html(doc: Document) -> str:
    """One page that needs nothing else."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(PAGE)
    return template.render(s=sheet(doc), marks=MARKS, tones=TONES, fills=FILLS, on=INKS, open_rows=OPEN_ROWS) + "\n"
