"""The look of the report: one style sheet, light and dark, screen and paper."""

from __future__ import annotations

from ibc_pyg.report.attention import gradient

_CURVES = (
    ("#1f5f99", "#7db7e8"),
    ("#b8500f", "#f0a267"),
    ("#2f7d4f", "#7fcf9b"),
    ("#7b4fa0", "#c3a2e4"),
    ("#8a6d00", "#dcc25e"),
    ("#a63a62", "#ee94b4"),
)
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "none", "7 3")
_CLASSES = (
    "#2e77b5",
    "#e07b1f",
    "#2f9e62",
    "#d1495b",
    "#8a63c0",
    "#a9772d",
    "#d76bab",
    "#6c8f1a",
    "#1ba3b3",
    "#c9a800",
    "#5468d4",
    "#b0533a",
)

_BASE = """
:root {
  color-scheme: light dark;
  --paper: #fcfbf8; --card: #ffffff; --ink: #1d1f23; --soft: #5f646c; --line: #e2dfd7;
  --accent: #1f5f99; --right: #17724a; --wrong: #b3420d; --halo: #fcfbf8; --rest: #a9a69d;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --ramp: RAMP_LIGHT;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171b; --card: #1b1e23; --ink: #e9e6df; --soft: #a0a4aa; --line: #2f333a;
    --accent: #7db7e8; --right: #6fcf9a; --wrong: #f2996a; --halo: #15171b; --rest: #565b63;
    --ramp: RAMP_DARK;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 56px 32px 40px; max-width: 1180px;
  background: var(--paper); color: var(--ink);
  font: 15px/1.55 var(--sans); font-variant-numeric: tabular-nums lining-nums;
}
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.15; text-wrap: balance; }
h1 { font-size: clamp(30px, 5vw, 44px); letter-spacing: -0.012em; margin: 0 0 20px;
  overflow-wrap: anywhere; }
h2 { font-size: 21px; margin: 0 0 8px; }
h3 { font-size: 13px; font-weight: 600; margin: 0; }
p, figure, ol, dl, dd { margin: 0; padding: 0; }
ol { list-style: none; }
img, svg { display: block; }
.crisp { image-rendering: pixelated; }
.label, .facts dd, h1, th { unicode-bidi: isolate; }
.kicker, .facts dt, .meaning, .beside, .score, .lede, .note, .missing, footer, output, .scale {
  color: var(--soft); }
.kicker { font-size: 13px; margin: 0 0 10px; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 32px; font-size: 13.5px; }
.facts div { min-width: 0; max-width: 100%; }
.facts dt { font-size: 12px; }
.facts dd { overflow-wrap: anywhere; }
section { display: grid; grid-template-columns: 210px minmax(0, 1fr); gap: 0 48px;
  border-top: 1px solid var(--line); padding: 28px 0 44px; }
header { padding-bottom: 36px; }
.lede { font-size: 13.5px; line-height: 1.5; }
.missing { font-family: var(--serif); font-style: italic; font-size: 16px; max-width: 46em; }
.note { margin-top: 18px; font-size: 13.5px; max-width: 56em; }
.title { font-weight: 600; font-size: 13px; }
.scroll { overflow-x: auto; }
footer { border-top: 1px solid var(--line); padding-top: 16px; font-size: 12.5px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""

_METRICS = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 28px; }
.tile .value { font: 500 44px/1.1 var(--serif); letter-spacing: -0.02em; margin: 2px 0 8px; }
.tile .unit { font-size: 20px; color: var(--soft); margin-left: 3px; letter-spacing: 0; }
.tile .meaning, .tile .beside { font-size: 12.5px; line-height: 1.4; }
.tile .beside::before { content: ""; display: inline-block; width: 2px; height: 10px;
  background: var(--wrong); margin-right: 7px; }
.meter { position: relative; height: 4px; background: var(--line); margin-bottom: 10px; }
.meter .fill { position: absolute; inset: 0 auto 0 0; background: var(--accent); }
.meter .floor { position: absolute; top: -4px; bottom: -4px; width: 2px; margin-left: -1px;
  background: var(--wrong); outline: 1px solid var(--paper); }
table { border-collapse: collapse; font-size: 13.5px; width: 100%; margin-top: 32px; }
td, th { padding: 7px 0 7px 18px; text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); font-size: 12px; padding-top: 0; }
tbody tr { border-top: 1px solid var(--line); }
tbody tr:first-child { font-weight: 600; }
tbody tr:first-child th { font-weight: 600; }
"""

_CHARTS = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
  gap: 32px 36px; align-items: start; }
.chart svg { width: 100%; height: auto; overflow: visible; touch-action: pan-y; }
.chart output { display: block; height: 1.6em; font-size: 12px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.chart text { font: 11.5px var(--sans); fill: var(--soft); dominant-baseline: middle; }
.chart .value { text-anchor: end; }
.chart .step { text-anchor: middle; }
.chart .grid { stroke: var(--line); stroke-width: 1; shape-rendering: crispEdges; }
.chart .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.chart .band { stroke: none; opacity: 0.16; }
.chart .dot { stroke: none; }
.chart text.end { font-weight: 600; }
.chart .cursor { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; visibility: hidden; }
.chart .cursor.lit { visibility: visible; }
"""

_GALLERY = """
.gallery { display: grid; gap: 20px; }
.row { display: grid; grid-template-columns: 84px minmax(0, 1fr); gap: 0 22px; }
.row ol { display: grid; grid-template-columns: repeat(10, minmax(0, 1fr)); gap: 10px 8px; }
.frame { position: relative; aspect-ratio: 1; background: var(--card); padding: 2px;
  border: 2px solid var(--line); }
.frame img { width: 100%; height: 100%; object-fit: contain; }
.query .frame { border-color: var(--ink); }
.right .frame { border-color: var(--right); }
.wrong .frame { border: 2px dashed var(--wrong); }
.mark { position: absolute; right: -2px; bottom: -2px; width: 17px; height: 17px;
  font: 700 11px/17px var(--sans); text-align: center; color: var(--paper); }
.right .mark { background: var(--right); }
.wrong .mark { background: var(--wrong); }
.row figcaption { font-size: 11.5px; line-height: 1.35; margin-top: 4px; }
.row .label { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2;
  line-clamp: 2; overflow: hidden; overflow-wrap: anywhere; }
.row .score { display: block; }
.query .label { font-weight: 600; }
"""

_ATTENTION = """
.attention { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 3fr); gap: 28px 36px;
  align-items: start; }
.attention > .main:only-child { grid-column: 1 / -1; max-width: 560px; }
.attention figcaption { display: flex; justify-content: space-between; align-items: baseline;
  gap: 10px; margin-bottom: 6px; }
.heads { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr));
  gap: 18px 20px; }
.heat { display: flex; gap: 6px; align-items: stretch; }
.square { position: relative; flex: 1 1 0; min-width: 0; aspect-ratio: 1; }
.heat img, .square svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.square, .null { outline: 1px solid var(--line); }
.null { position: relative; flex: 0 0 10px; }
.single .null { flex-basis: 4px; }
.single .heat { gap: 3px; }
.boundary { fill: none; stroke: var(--rest); stroke-width: 0.5; vector-effect: non-scaling-stroke;
  opacity: 0.75; }
.classes { display: flex; flex-direction: column; flex: 0 1 auto; max-width: 28%; min-width: 0; }
.classes li { display: flex; align-items: center; justify-content: flex-end; min-height: 0;
  font-size: 11px; line-height: 1; color: var(--soft); }
.classes span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  unicode-bidi: isolate; padding: 1px 0; }
.scale { display: inline-flex; align-items: center; gap: 6px; font-size: 11.5px;
  white-space: nowrap; }
.ramp { width: 56px; height: 8px; background: var(--ramp); outline: 1px solid var(--line); }
.single .ramp { display: none; }
.single .scale { font-size: 0; }
"""

_MAP = """
.map { display: grid; grid-template-columns: minmax(0, 1fr) 210px; gap: 24px 36px;
  align-items: start; }
.map > svg { width: 100%; height: auto; max-width: 660px; }
.map g.rest { fill: var(--rest); opacity: 0.55; }
.map .focus { stroke: var(--halo); stroke-width: 0.5; }
.map .number { font: 700 13px var(--sans); fill: var(--ink); stroke: var(--halo); stroke-width: 3.5;
  paint-order: stroke; stroke-linejoin: round; text-anchor: middle; dominant-baseline: central;
  pointer-events: none; }
.map .thumb { fill: none; stroke: var(--rest); stroke-width: 1.4; }
.legend { counter-reset: rank; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: 8px; padding: 3px 4px;
  counter-increment: rank; cursor: default; }
.legend li::before { content: counter(rank); width: 1.5em; text-align: right; font-weight: 700; }
.legend svg { flex: none; width: 16px; height: 16px; }
.legend .label { flex: 1; min-width: 0; overflow-wrap: anywhere; line-height: 1.3; }
.map.dim g:not(.lit), .map.dim text:not(.lit) { opacity: 0.12; }
"""

_CONFIG = """
details { border: 1px solid var(--line); background: var(--card); }
summary { cursor: pointer; padding: 10px 16px; font-size: 13.5px; }
pre { margin: 0; padding: 4px 16px 16px; overflow-x: auto; font: 12.5px/1.55 var(--mono);
  tab-size: 2; }
"""

_SMALL = """
@media (max-width: 860px) {
  section { grid-template-columns: minmax(0, 1fr); gap: 16px; }
  .lede { max-width: 42em; }
}
@media (max-width: 640px) {
  body { padding: 32px 18px; }
  section { padding: 24px 0 34px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 24px 22px; }
  .tile .value { font-size: 36px; }
  .row { grid-template-columns: minmax(0, 1fr); gap: 8px;
    border-top: 1px solid var(--line); padding-top: 14px; }
  .row:first-child { border: 0; padding-top: 0; }
  .row ol { grid-template-columns: repeat(5, minmax(0, 1fr)); }
  .query { display: grid; grid-template-columns: 64px 1fr; gap: 14px; align-items: center; }
  .attention, .map { grid-template-columns: minmax(0, 1fr); }
  .legend { columns: 2; column-gap: 20px; }
  .legend li { break-inside: avoid; }
}
@media print {
  :root { --paper: #ffffff; --halo: #ffffff; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  section { grid-template-columns: minmax(0, 1fr); gap: 10px; padding: 16px 0; }
  .row, .chart, .tile, .attention figure, .map { break-inside: avoid; }
  h2, .lede { break-after: avoid; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .boundary { stroke-width: 0.25; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@media (prefers-reduced-motion: no-preference) {
  .map g, .map text { transition: opacity 0.15s; }
}
"""


def style_sheet() -> str:
    """Return the whole style sheet."""
    base = _BASE.replace("RAMP_LIGHT", gradient("light")).replace("RAMP_DARK", gradient("dark"))
    parts = [base, _METRICS, _CHARTS, _GALLERY, _ATTENTION, _MAP, _CONFIG]
    for number, ((light, dark), dash) in enumerate(zip(_CURVES, _DASHES, strict=True)):
        parts.append(
            f".chart .s{number} {{ --c: {light}; }}\n"
            f"@media (prefers-color-scheme: dark) {{ .chart .s{number} {{ --c: {dark}; }} }}\n"
            f".chart .curve.s{number} {{ stroke: var(--c); stroke-dasharray: {dash}; }}\n"
            f".chart .band.s{number}, .chart .dot.s{number}, .chart .end.s{number} "
            "{ fill: var(--c); }\n"
        )
    parts += [
        f".map .c{rank} {{ fill: {colour}; }}\n.map .c{rank} .thumb {{ stroke: {colour}; }}\n"
        for rank, colour in enumerate(_CLASSES)
    ]
    return "".join([*parts, _SMALL])
