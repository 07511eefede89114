"""The page's style sheet and the lines of script that draw its charts."""

CSS = """
:root { color-scheme: light; --ink: #23262b; --soft: #626974; --rule: #e3e5e9; --wash: #f7f7f8; --wine: #8b1e3f;
  --good: #1b7353; --warn: #a8620a; --bad: #b3261e; }
* { box-sizing: border-box; }
html { background: #fff; }
body { margin: 0 auto; max-width: 1000px; padding: 40px 28px 80px; color: var(--ink); font: 16px/1.55 system-ui,
  -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif; overflow-wrap: anywhere; }
header .eyebrow { color: var(--wine); font-weight: 600; letter-spacing: .02em; font-size: 13px; }
h1 { font-size: 30px; line-height: 1.2; margin: 4px 0 18px; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 21px; margin: 56px 0 6px; padding-top: 18px; border-top: 1px solid var(--rule); font-weight: 650; }
h3 { font-size: 16px; margin: 28px 0 4px; font-weight: 650; }
p { margin: 8px 0; max-width: 74ch; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 15px; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; }
.verdict { margin: 28px 0 0; padding: 22px 26px 24px; background: var(--wash); border-left: 5px solid var(--tone);
  border-radius: 0 8px 8px 0; }
.gain { --tone: var(--good); } .guard, .scale, .none, .unverified { --tone: var(--warn); } .worse { --tone: var(--bad); }
.missing { --tone: var(--soft); }
.badge { display: inline-block; background: var(--tone); color: #fff; font-size: 12px; font-weight: 650; padding: 2px 10px;
  border-radius: 20px; }
.verdict .headline { font-size: 22px; line-height: 1.35; font-weight: 600; margin: 10px 0 8px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0 0; }
.tile { flex: 1 1 150px; border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px; background: #fff; }
.tile .name { color: var(--soft); font-size: 13px; }
.tile .value { font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tile .more { color: var(--soft); font-size: 12.5px; line-height: 1.4; }
ul.warnings { list-style: none; margin: 16px 0 0; padding: 12px 18px; background: #fff8ec; border: 1px solid #f0dcb8;
  border-radius: 8px; font-size: 15px; }
ul.warnings li { padding: 2px 0 2px 22px; text-indent: -22px; }
ul.warnings li::before { content: "\\25B2"; color: var(--warn); font-size: 11px; margin-right: 10px; text-indent: 0; }
.scroll { overflow-x: auto; margin: 12px 0 6px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 12.5px; padding: 6px 10px; vertical-align: bottom;
  border-bottom: 1.5px solid #c9cdd3; overflow-wrap: normal; }
td { padding: 6px 10px; border-bottom: 1px solid var(--rule); vertical-align: top; }
th.n, td.n { text-align: right; }
td.n { white-space: nowrap; }
td:first-child, th:first-child { padding-left: 2px; }
td { min-width: 64px; } td.wide { min-width: 110px; }
td.name { min-width: 130px; max-width: 300px; }
tr.strong td { font-weight: 650; }
td small { color: var(--soft); font-size: 12px; }
.tag { font-size: 11.5px; border: 1px solid #c9cdd3; border-radius: 10px; padding: 0 7px; color: var(--soft); margin-left: 6px;
  white-space: nowrap; }
.tag.bad { color: var(--bad); border-color: #e5b5b1; } .tag.good { color: var(--good); border-color: #a9d3c3; }
figure { margin: 14px 0 4px; }
figcaption { color: var(--soft); font-size: 13px; }
.basis { color: var(--soft); font-size: 11.5px; line-height: 1.4; margin: 2px 0; max-width: none; }
.chart { width: 100%; }
#checks, #transfer, #front { max-width: 560px; }
pre { background: var(--wash); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 8px 0; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--wine); font-size: 14.5px; }
footer { margin-top: 56px; padding-top: 14px; border-top: 1px solid var(--rule); color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { body { padding: 24px 16px 60px; } dl.facts { grid-template-columns: 1fr; gap: 0; }
  dl.facts dd { margin-bottom: 8px; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } h2 { break-after: avoid; }
  figure, tr, .tile, .verdict { break-inside: avoid; } pre { white-space: pre-wrap; }
  .badge, .verdict, ul.warnings { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

SCRIPT = """
for (const holder of document.querySelectorAll(".chart")) {
  const figure = JSON.parse(document.getElementById(holder.id + "-data").textContent);
  Plotly.newPlot(holder, figure.data, figure.layout, {
    responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]
  });
}
addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach(holder => Plotly.Plots.resize(holder)));
"""
