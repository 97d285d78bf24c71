"""The page of a session report: its style sheet and the frame around the sections."""

from __future__ import annotations

from html import escape

# Nothing may be loaded from anywhere: the report is read offline and must show the same for ever.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)

_CSS = """
:root{--ink:#1b2430;--muted:#5f6b7a;--line:#e3e8ef;--paper:#fff;--ground:#f5f7fa;--accent:#0072b2;
--good:#00795a;--warn:#b45309;--bad:#b42318}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 Inter,'Segoe UI',system-ui,
-apple-system,Roboto,'Helvetica Neue',Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
.verdict{background:var(--paper);border:1px solid var(--line);border-left:6px solid var(--accent);
border-radius:12px;padding:24px 28px}
.verdict.lost{border-left-color:var(--warn)}.verdict.halted{border-left-color:var(--bad)}
.verdict.won{border-left-color:var(--good)}
h1{font-size:26px;line-height:1.3;letter-spacing:-.015em;margin:0 0 12px;font-weight:650;
text-wrap:balance}
.verdict p{margin:6px 0 0;max-width:88ch}
.verdict p.alarm{color:var(--bad);font-weight:600}
.verdict p.meta{color:var(--muted);font-size:13px;margin-top:16px;max-width:none}
.meta b{font-weight:600;color:var(--ink)}
h2{font-size:19px;letter-spacing:-.01em;margin:44px 0 4px;font-weight:650}
h2+p,.note{color:var(--muted);margin:0 0 14px;max-width:88ch}
h3{font-size:15px;margin:22px 0 8px;font-weight:650}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:20px 0 0}
.card{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:14px 16px;
min-width:0}
.card .k{color:var(--muted);font-size:13px}
.card .v{font-size:23px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums;
margin:2px 0;white-space:nowrap}
.card .s{color:var(--muted);font-size:13px;font-variant-numeric:tabular-nums}
.panel{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:12px 16px;
overflow-x:auto;margin:0 0 12px}
.panel>div{width:100%}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th{font-weight:600;color:var(--muted);font-size:12.5px;text-align:right;padding:8px 10px;
border-bottom:1px solid var(--line);vertical-align:bottom;line-height:1.25}
td{padding:8px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
tr:last-child td{border-bottom:0}
tr.total td{font-weight:650}
.l{text-align:left}.wrap{white-space:normal;min-width:220px;color:var(--muted)}
.dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:9px}
code{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.chip{display:inline-block;padding:1px 9px;border-radius:99px;font-size:12.5px;font-weight:600}
.approved{background:#dcebf6;color:#00507d}.reduced{background:#e4f3ee;color:#00614a}
.denied{background:#fbe5d9;color:#8f3c00}.no_trade{background:#eceff3;color:#4a5563}
.bar{display:block;height:12px;border-radius:3px;min-width:2px}
.bar.approved{background:#0072b2}.bar.reduced{background:#009e73}
.bar.denied{background:#d55e00}.bar.no_trade{background:#aab3bf}.bar.cost{background:#0072b2}
.bar.gain{background:#aab3bf}
td.track{width:30%;min-width:110px}
dl{display:grid;grid-template-columns:minmax(130px,max-content) 1fr;gap:8px 22px;margin:0}
dt{font-weight:600}dd{margin:0;color:var(--muted);max-width:84ch}
details{margin:0 0 12px}summary{cursor:pointer;color:var(--accent);margin:0 0 8px}
footer{color:var(--muted);font-size:13px;margin-top:32px}
@media(max-width:860px){.cards{grid-template-columns:repeat(2,1fr)}}
@media(max-width:520px){main{padding:16px 12px 40px}h1{font-size:21px}.verdict{padding:18px}
.card .v{font-size:18px}dl{grid-template-columns:1fr;gap:2px}dd{margin-bottom:10px}}
@media print{body{background:#fff}.panel,.card,.verdict{break-inside:avoid}}
"""


def page(title: str, body: str, script: str) -> str:
    """The whole document; ``body`` is HTML, ``script`` is put inline once, before the body."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    ).replace("</style>\n</head>", f"</style>\n<script>{script}</script>\n</head>", 1)
