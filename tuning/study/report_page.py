"""The page of a study's report: the session report's frame, and what the dark scheme changes."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tuning import report_charts, report_style

_STYLE = """<style>
:root{color-scheme:light dark}
.two{display:grid;grid-template-columns:1fr 1fr;gap:12px}
.two>.panel{margin:0 0 12px;min-width:0}
.outcome{font-weight:600;white-space:nowrap}
.outcome.passed{color:var(--good)}.outcome.failed{color:var(--bad)}.outcome.unknown{color:var(--muted)}
h1{font-size:22px}
td.wrap{overflow-wrap:anywhere}
h1,.meta b,dd,summary{overflow-wrap:anywhere}
.card .v.small{font-size:17px;white-space:normal;line-height:1.5}
@media(max-width:860px){.two{grid-template-columns:1fr}}
@media(prefers-color-scheme:dark){
:root{--ink:#e4e9f0;--muted:#9aa6b5;--line:#2a3441;--paper:#151c25;--ground:#0d1218;
--accent:#5cb3e6;--good:#4cc79b;--warn:#e5a23d;--bad:#ff8474}
}
</style>"""

# Plotly draws with the colours it is given: those of text and grid follow the page's.
_SCRIPT = """<script>
(function(){
const media=matchMedia('(prefers-color-scheme: dark)');
function paint(){
 const css=getComputedStyle(document.documentElement);
 const v=n=>css.getPropertyValue(n).trim();
 const ink=v('--ink'),muted=v('--muted'),line=v('--line'),paper=v('--paper');
 for(const div of document.querySelectorAll('.plotly-graph-div')){
  if(!div.layout)continue;
  const change={'font.color':ink,'hoverlabel.bgcolor':paper,'hoverlabel.bordercolor':line,
   'hoverlabel.font.color':ink};
  for(const axis of Object.keys(div.layout)){
   if(!/^[xy]axis[0-9]*$/.test(axis))continue;
   change[axis+'.color']=muted;change[axis+'.gridcolor']=line;
   if(axis[0]==='x'){change[axis+'.linecolor']=line;change[axis+'.tickcolor']=line;}
  }
  (div.layout.annotations||[]).forEach((note,i)=>{
   if(note.bgcolor)change['annotations['+i+'].bgcolor']=paper;
  });
  Plotly.relayout(div,change);
 }
}
media.addEventListener('change',paint);
if(media.matches)paint();
})();
</script>"""


def study_page(title: str, body: str) -> str:
    """The whole document around ``body``, HTML; nothing in it is loaded from anywhere."""
    return report_style.page(title, f"{_STYLE}\n{body}\n{_SCRIPT}", get_plotlyjs())


def style(figure: go.Figure, height: int, hover_digits: str | None = None) -> go.Figure:
    """The look of the session report's charts, for x axes that are not always time."""
    report_charts.style(figure, height, hover_digits)
    figure.update_xaxes(zeroline=False, title_font={"size": 12}, title_standoff=8)
    return figure
