"""The page's CSS: system fonts, one accent, light and dark, print.

Series colours are Okabe and Ito's (2008) colour-blind-safe palette, darkened on light and lightened on dark for
contrast.
"""

CSS = """
:root{--ink:#1c2024;--soft:#5a636c;--faint:#9aa3ab;--line:#dfe3e7;--paper:#fff;--wash:#f5f7f8;--accent:#0b62a4;
--heat:#0b62a4;--on-heat:#fff;--c0:#0b62a4;--c1:#c04a00;--c2:#00795a;--c3:#a8477f;--c4:#a66f00;--c5:#3a8fc7}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8eb;--soft:#a2acb5;--faint:#6d7780;--line:#343b42;--paper:#15181b;
--wash:#1d2125;--accent:#6db8ee;--heat:#4ba3e3;--on-heat:#0b1116;--c0:#6db8ee;--c1:#f08a4b;--c2:#3fc79a;--c3:#dd8fbb;
--c4:#e6b34a;--c5:#a9d5f2}}
*{box-sizing:border-box}
html{font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif;
color:var(--ink);background:var(--paper);-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0}
.page{max-width:1180px;margin:0 auto;padding:40px 32px 80px}
main{min-width:0}
h1{font-size:1.9rem;line-height:1.2;font-weight:650;letter-spacing:-.015em;margin:0;overflow-wrap:anywhere}
h2{font-size:.8rem;font-weight:650;letter-spacing:.08em;text-transform:uppercase;color:var(--soft);
margin:64px 0 0;padding-bottom:8px;border-bottom:1px solid var(--line)}
h3{font-size:1.15rem;font-weight:620;margin:0 0 6px;overflow-wrap:anywhere}
h4{font-size:.95rem;font-weight:620;margin:22px 0 8px}
section{margin:32px 0 44px;scroll-margin-top:20px}
.subtitle{color:var(--soft);margin:8px 0 0;font-size:1.05rem;overflow-wrap:anywhere}
.warnings{list-style:none;margin:18px 0 0;padding:10px 14px;border:1px solid var(--c1);border-left-width:4px;
border-radius:6px;color:var(--ink);overflow-wrap:anywhere}
.warnings li::before{content:"⚠ ";color:var(--c1)}
.note{color:var(--soft);margin:0 0 14px;max-width:70ch;white-space:pre-line}
.aside{color:var(--soft);font-size:.85rem;margin:6px 0}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
nav{font-size:.88rem;margin-bottom:28px}
nav ul{list-style:none;margin:0;padding:0}
nav span{display:block;color:var(--soft);font-size:.74rem;font-weight:650;letter-spacing:.07em;text-transform:uppercase;
margin:16px 0 4px}
nav a{display:block;padding:2px 0;color:var(--ink);overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(196px,1fr));gap:12px;margin:30px 0 0}
.card{background:var(--wash);border:1px solid var(--line);border-radius:8px;padding:14px 16px 12px}
.card dt{font-size:.85rem;color:var(--soft);line-height:1.3}
.card small{color:var(--faint);font-size:.74rem;white-space:nowrap}
.card dd{margin:0}
.value{font-size:1.65rem;font-weight:600;letter-spacing:-.01em;line-height:1.35;font-variant-numeric:tabular-nums}
.span{font-size:.85rem;color:var(--soft);font-variant-numeric:tabular-nums}
.primary{border-color:var(--accent);box-shadow:inset 3px 0 0 var(--accent)}
.primary .value{color:var(--accent)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:12px 24px;margin:26px 0 0}
section .facts{margin-top:10px}
.facts dt{font-size:.8rem;color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;max-width:100%}
.tall{max-height:640px;overflow-y:auto;border-bottom:1px solid var(--line)}
.tall thead th{position:sticky;top:0;background:var(--paper);box-shadow:inset 0 -1px var(--faint)}
.scroll:focus-visible,pre:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:6px 18px 6px 0;border-bottom:1px solid var(--line)}
th:last-child,td:last-child{padding-right:2px}
thead th{color:var(--soft);font-weight:550;font-size:.82rem;vertical-align:bottom;border-bottom-color:var(--faint)}
tbody th{font-weight:450;white-space:nowrap}
tbody tr:hover{background:var(--wash)}
td{white-space:nowrap}
.n{text-align:right;white-space:nowrap}
td.long{min-width:26ch;max-width:64ch;white-space:pre-line;overflow-wrap:anywhere}
.none{color:var(--faint)}
.ends{display:flex;justify-content:space-between;width:300px}
.figures td{vertical-align:middle}
pre{background:var(--wash);border:1px solid var(--line);border-radius:8px;padding:14px 16px;overflow-x:auto;margin:0;
font:.84rem/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;tab-size:4}
.example{border-left:3px solid var(--line);padding:2px 0 2px 16px;margin:0 0 20px;max-width:80ch}
blockquote{margin:0 0 6px;white-space:pre-line;overflow-wrap:anywhere;unicode-bidi:plaintext}
summary{cursor:pointer;overflow-wrap:anywhere;margin-bottom:6px}
.inline{display:flex;flex-wrap:wrap;gap:2px 20px}.example .inline{margin:0}
.inline div{display:flex;gap:6px;align-items:baseline;font-size:.88rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 20px;margin:4px 0;padding:0;font-size:.86rem;
color:var(--soft)}
.legend svg{margin-right:7px;vertical-align:-1px}
svg text{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .head{font-size:13.5px;fill:var(--ink)}svg .label{font-size:12.5px;fill:var(--ink)}
.chart{display:block;max-width:100%;height:auto}
.chart:not(.fixed){width:min(100%,640px)}
.fixed{max-width:none}
.interval{display:block}.band{fill:var(--c);fill-opacity:.3}
.mid{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--line)}.axis{stroke:var(--faint)}
.mark{stroke:var(--soft);stroke-dasharray:4 3}.mark-label{fill:var(--ink)}
.halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.thin{stroke-width:1.2;stroke-opacity:.6}
.d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 4}.d3{stroke-dasharray:9 4 2 4}
.dot{fill:var(--c);stroke:none}
.bar{fill:var(--c);stroke:none}.area{fill:var(--c);fill-opacity:.12;stroke:none}
.whisker{stroke:var(--c);stroke-width:1.6}.thick{stroke-width:4;stroke-opacity:.45;stroke-linecap:round}
.cell{fill:var(--wash)}.heat{fill:var(--heat)}
svg .cell-number{fill:var(--ink);font-size:11.5px}svg .on-heat{fill:var(--on-heat)}svg .faint{fill:var(--faint)}
@media (min-width:1000px){.page:has(nav){display:grid;grid-template:"nav head" auto "nav main" 1fr/190px minmax(0,1fr);
column-gap:56px}header{grid-area:head;min-width:0}main{grid-area:main}
nav{grid-area:nav;position:sticky;top:32px;align-self:start;max-height:calc(100vh - 64px);overflow-y:auto}
nav>ul>li:first-child span{margin-top:4px}}
@media (max-width:999px){nav{margin-top:36px;border-top:1px solid var(--line);padding-top:18px}
nav>ul{columns:2;column-gap:24px}nav>ul>li{break-inside:avoid;padding-bottom:14px}nav span{margin-top:0}}
@media (max-width:520px){.page{padding:24px 16px 56px}h1{font-size:1.5rem}
.cards{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}.card{padding:10px 12px}.value{font-size:1.35rem}
.facts{grid-template-columns:repeat(2,minmax(0,1fr));gap:10px 16px}}
@media print{:root{--ink:#000;--soft:#444;--faint:#888;--line:#ccc;--paper:#fff;--wash:#f6f6f6;--accent:#0b62a4;
--heat:#0b62a4;--on-heat:#fff;--c0:#0b62a4;--c1:#c04a00;--c2:#00795a;--c3:#a8477f;--c4:#a66f00;--c5:#3a8fc7}
html{font-size:10.5pt}nav{display:none}.page{display:block!important;padding:0;max-width:none}
.scroll,pre{overflow:visible;max-height:none}pre{white-space:pre-wrap}td{white-space:normal}.fixed{max-width:100%}
.card,.example,.chart,tr,article,.facts>div{break-inside:avoid}h2,h3,h4,.note,.aside,.legend{break-after:avoid}
.kind-curves,.kind-histogram,.kind-reliability,.kind-figures{break-inside:avoid}thead{display:table-header-group}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
