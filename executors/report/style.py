"""How a page looks: its template and its style sheet, as text of this module, so that they are shipped with it."""

from __future__ import annotations

TEMPLATE = """\
{% macro head(block) %}{% if block.title %}<h3>{{ block.title }}</h3>{% endif %}{% endmacro %}
{% macro note(block) %}{% if block.note %}<p class="note">{{ block.note }}</p>{% endif %}{% endmacro %}
{% macro pairs(found) %}
<dl>
{% for name, value in found %}
<div><dt>{{ name }}</dt><dd>{{ value | shown }}</dd></div>
{% endfor %}
</dl>
{% endmacro %}
{% macro badge(cell) %}<span class="badge {{ cell.tone }}">{{ cell.value }}</span>{% endmacro %}
{% macro small(cell) %}{% if cell.note %}<small class="{{ cell.tone }}">{{ cell.note }}</small>{% endif %}{% endmacro %}
{% macro table(block) %}
<div class="scroll" tabindex="0"><table>
<thead><tr>{% for name in block.header %}<th scope="col"{% if block.numeric[loop.index0] %} class="num"{% endif %}>{{
name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}
<tr>
{%- for cell in row %}
{%- if loop.first and block.names_rows %}<th scope="row"{% if (cell | shown | length) <= 18 %} class="short"{%
endif %}>{{ cell | shown }}</th>
{%- elif cell.kind == "badge" %}<td>{{ badge(cell) }}</td>
{%- elif cell.kind == "noted" %}<td class="{{ 'num' if block.numeric[loop.index0] }}{{ ' best' if cell.best }}">{{
cell.value | shown }}{% if cell.best %}<abbr title="best">&#9733;</abbr>{% endif %}{{ small(cell) }}</td>
{%- elif cell.kind == "range" %}<td class="range">{% if cell.places %}<span class="track" role="img" aria-label="{{
cell.said }}" style="{{ cell.places }}">{% if cell.zero is not none %}<s></s>{% endif %}<b></b><i></i></span>{%
endif %}{{ small(cell) }}</td>
{%- else %}<td{% if block.numeric[loop.index0] %} class="num{{ ' right' if cell.right }}"{% endif %}
{%- if cell.percent %} style="--heat:{{ cell.percent }}%"{% endif %}>{{ cell | shown }}</td>
{%- endif %}
{%- endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro beside(block) %}
<div class="beside">
{% for each in block.tables %}
<div>{{ head(each) }}{{ table(each) }}{{ note(each) }}</div>
{% endfor %}
</div>
{% endmacro %}
{% macro figures(block) %}
<div class="figures">
{% for figure in block.figures %}
<figure>
<figcaption>{{ figure.title }}</figcaption>
{{ figure.svg | safe }}
{% if figure.legend %}
<ul class="legend">
{% for entry in figure.legend %}
<li><i style="border-color:var(--{{ entry.color }});border-style:{{ entry.line }}"></i>{{ entry.name }}</li>
{% endfor %}
</ul>
{% endif %}
{{ note(figure) }}
</figure>
{% endfor %}
</div>
{% endmacro %}
{% macro cards(block) %}
<div class="cards">
{% for card in block.cards %}
<article><h4>{{ card.title }}{% if card.badge %} {{ badge(card.badge) }}{% endif %}</h4>
<p>{{ card.line }}</p>{{ pairs(card.pairs) }}</article>
{% endfor %}
</div>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ page.title }}</title>
<link rel="icon" href="data:,">
<style>{{ style | safe }}</style>
</head>
<body>
<header>
<h1>{{ page.title }}</h1>
<p class="subtitle">{{ page.subtitle }}</p>
{% if page.callout %}
<div class="callout {{ page.callout.tone }}"><h2>{{ page.callout.title }}</h2>
{% for line in page.callout.lines %}<p>{{ line }}</p>{% endfor %}
</div>
{% endif %}
{% if page.headline %}
<ul class="headline">
{% for name, value in page.headline %}
<li><b>{{ value | shown }}</b><span>{{ name }}</span></li>
{% endfor %}
</ul>
{% endif %}
</header>
<nav aria-label="Sections">{% for section in sections %}<a href="#{{ section.anchor }}">{{ section.title }}</a>{%
endfor %}</nav>
<main>
{% for section in sections %}
<section id="{{ section.anchor }}">
<h2>{{ section.title }}</h2>
{% for block in section.blocks %}
{% if block.kind == "text" %}
<p>{{ block.text }}</p>
{% else %}
{{ head(block) }}
{% if block.kind == "facts" %}{{ pairs(block.pairs) }}
{% elif block.kind == "table" %}{{ table(block) }}
{% elif block.kind == "figures" %}{{ figures(block) }}
{% elif block.kind == "cards" %}{{ cards(block) }}
{% elif block.kind == "beside" %}{{ beside(block) }}
{% endif %}
{{ note(block) }}
{% endif %}
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #f6f7f9; --fg: #1c2128; --muted: #59636e; --grid: #d9dee4;
  --s1: #1f6feb; --s2: #c2410c; --s3: #15803d; --s4: #9333ea; --s5: #a16207; --s6: #0e7490; --best: #be185d;
  --good: #15803d; --bad: #b42318;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --card: #1b2129; --fg: #e6eaef; --muted: #9aa5b1; --grid: #353d47;
    --s1: #6cabff; --s2: #ff9a62; --s3: #5fd08a; --s4: #c99bff; --s5: #e3bb52; --s6: #5cc8dc; --best: #ff7eb6;
    --good: #5fd08a; --bad: #ff9389;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 1160px; padding: 1rem; background: var(--paper); color: var(--fg);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .5rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h4 { font-size: .95rem; margin: 0; }
h4 .badge { margin-left: .4em; }
p { margin: .4rem 0; max-width: 75ch; }
.subtitle, .note { color: var(--muted); }
.note { font-size: .87rem; }
.headline { list-style: none; display: flex; flex-wrap: wrap; gap: .6rem; padding: 0; margin: 1rem 0; }
.headline li { background: var(--card); border-radius: 8px; padding: .5rem .9rem; min-width: 6.5rem; }
.headline b { display: block; font-size: 1.3rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.headline span { color: var(--muted); font-size: .87rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .93rem; }
a { color: var(--s1); }
nav a { text-decoration: none; padding: .2rem 0; }
nav a:hover, nav a:focus { text-decoration: underline; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .28rem .65rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--grid); }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; max-width: 22rem; overflow-wrap: anywhere; min-width: 6rem; }
tbody th.short { overflow-wrap: normal; min-width: 0; }
td { background: color-mix(in srgb, var(--s2) calc(var(--heat, 0%) * .6), transparent); }
td.right { background: color-mix(in srgb, var(--s1) calc(var(--heat, 0%) * .6), transparent); }
.num { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--muted); font-size: .82em; white-space: nowrap; }
td small.good { color: var(--good); }
td small.bad { color: var(--bad); }
td.best { font-weight: 650; }
td.best small { font-weight: 400; }
td abbr { color: var(--best); text-decoration: none; margin-left: .25em; }
.badge { display: inline-block; color: var(--muted); border: 1px solid currentColor; border-radius: 1em; }
.badge { font-size: .85em; line-height: 1.35; padding: 0 .6em; white-space: nowrap; }
.badge.good { color: var(--good); }
.badge.bad { color: var(--bad); }
.range { vertical-align: middle; }
.track { display: block; position: relative; height: 1rem; width: clamp(8rem, 22vw, 17rem); }
.track > * { position: absolute; }
.track s { left: var(--zero); top: -.2rem; bottom: 0; border-left: 1px dashed var(--muted); }
.track b { left: var(--low); right: calc(100% - var(--high)); top: calc(50% - 2px); height: 4px; min-width: 2px; }
.track b { background: var(--tone); opacity: .5; border-radius: 2px; }
.track i { left: var(--at); top: 50%; width: .6rem; height: .6rem; margin: -.3rem; border-radius: 50%; }
.track i { background: var(--tone); }
.beside { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 0 1.5rem; }
.beside > div { min-width: 0; break-inside: avoid; }
.beside h3 { font-size: .95rem; margin: .7rem 0 .2rem; }
.beside table:has(.range) { width: 100%; }
.beside .range { width: 60%; }
.beside .range small { white-space: normal; line-height: 1.3; }
.beside .track { width: 100%; min-width: 6.5rem; }
.callout { background: var(--card); border-left: 5px solid var(--muted); border-radius: 8px; }
.callout { margin: 1rem 0; padding: .7rem 1rem; break-inside: avoid; }
.callout h2 { border: 0; margin: 0; padding: 0; font-size: 1.35rem; }
.callout.good { border-color: var(--good); }
.callout.bad { border-color: var(--bad); }
dl { margin: .4rem 0; font-size: .92rem; columns: 30rem; column-gap: 2rem; }
article dl { columns: auto; }
dl div { display: grid; grid-template-columns: minmax(7rem, 13rem) 1fr; gap: .2rem .8rem; }
dl div { break-inside: avoid; padding: .18rem 0; }
dt { color: var(--muted); }
dd { margin: 0; white-space: pre-wrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 1rem; }
figure { margin: .4rem 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
figure svg { display: block; width: 100%; max-width: 460px; height: auto; }
figure svg text { font-family: inherit !important; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .2rem 0; padding: 0; }
.legend { font-size: .85rem; }
.legend i { display: inline-block; width: 1.3rem; border-width: 3px 0 0; margin-right: .4rem; vertical-align: .25em; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: .8rem; }
article { background: var(--card); border-radius: 8px; padding: .7rem .9rem; min-width: 0; }
article dl div { grid-template-columns: minmax(5rem, 8rem) 1fr; }
@media (max-width: 480px) {
  body { padding: .75rem; }
  dl div { grid-template-columns: minmax(5rem, 45%) 1fr; }
  article dl div { grid-template-columns: minmax(4rem, 7rem) 1fr; gap: .6rem; }
  th, td { padding: .25rem .45rem; }
}
@media print {
  @page { margin: 14mm; }
  html { font-size: 12px; }
  body { max-width: none; padding: 0; font-size: 12px; }
  nav { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  figure, article, tr, .headline li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .cards { grid-template-columns: repeat(2, 1fr); }
  .beside .num { white-space: normal; overflow-wrap: anywhere; min-width: 3rem; }
}
"""
