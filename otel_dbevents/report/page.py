"""A report as a page that needs nothing else: no script, no font, no address.

Light or dark as its reader's system is. Every name on it is somebody's input, and is escaped.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from otel_dbevents.report import shown
from otel_dbevents.report.chart import chart
from otel_dbevents.report.findings import RULES, Group, Report
from otel_dbevents.report.shown import plain

_HEADS: Final = (
    *("Prompt", "Model", "Turns", "Typically", "When slow"),
    *("Turn", "Model time", "Database", "Share", "Queries", "Failed"),
)
_STYLE: Final = """
:root{color-scheme:light dark;--ground:#fff;--raised:#f6f7f8;--text:#1c2024;--faint:#5b6470;
--line:#d9dde2;--model:#3b6fb6;--database:#c2571a;--rest:#8a939e;--good:#1d7a46;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ground:#15181c;--raised:#1d2126;--text:#e4e7ea;
--faint:#9aa4af;--line:#343a42;--model:#6ea3ea;--database:#f0914f;--rest:#737d89;--good:#5fc98d;
--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px}
h3{font-size:15px;margin:22px 0 6px}
p{margin:0 0 8px}.faint,caption{color:var(--faint)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
caption{text-align:left;padding:0 0 6px}
th,td{padding:6px 10px;vertical-align:top;text-align:right;
border-bottom:1px solid var(--line);white-space:nowrap;font-variant-numeric:tabular-nums}
thead th{background:var(--raised);vertical-align:bottom}
small{display:block;font-size:12px;font-weight:400;color:var(--faint)}
tbody th{font-weight:600}th.text,td.text{text-align:left}
td.text.query{white-space:normal;overflow-wrap:anywhere;min-width:320px}
tfoot th,tfoot td{border-top:2px solid var(--line);font-weight:600}
code{font:13px/1.45 ui-monospace,Consolas,monospace}
.model{color:var(--model)}.database{color:var(--database)}.rest{color:var(--faint)}
.worse{color:var(--bad)}.better{color:var(--good)}
li{margin:0 0 6px}ul{margin:0;padding-left:22px}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--text);font:13px system-ui,sans-serif}
svg .small{fill:var(--faint);font-size:12px}
svg .grid{stroke:var(--line)}svg .bar-model{fill:var(--model)}
svg .bar-database{fill:var(--database)}svg .bar-rest{fill:var(--rest)}
svg .tick{stroke:var(--text);stroke-width:2}
"""


def page(report: Report) -> str:
    """Return the report as HTML."""
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width,initial-scale=1">\n',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; ',
            "style-src 'unsafe-inline'\">\n",
            f"<title>Where the time of LLM turns went</title>\n<style>{_STYLE}</style>\n",
            "</head>\n<body>\n<main>\n",
            *_body(report),
            "</main>\n</body>\n</html>\n",
        )
    )


def _body(report: Report) -> Iterator[str]:
    yield "<h1>Where the time of LLM turns went</h1>\n"
    if report.total is None:
        yield f"<p>{_said(report.source)}: no turns.</p>\n"
        return
    first, last = shown.moment(report.total.first_ns), shown.moment(report.total.last_ns)
    yield f'<p class="faint">{_said(report.source)}: {shown.turns(report.total.turns)} '
    yield f"from {first} to {last} UTC</p>\n"
    yield from _changes(report)
    yield f"<h2>By prompt, version and model</h2>\n{chart(report.groups)}\n"
    yield from _table(report.groups, report.total)
    if any(group.top_queries or group.repeated for group in report.groups):
        yield "<h2>Queries</h2>\n"
    for group in report.groups:
        yield from _queries(group)
    yield from _notes(report)


def _changes(report: Report) -> Iterator[str]:
    if not report.changes:
        return
    yield "<h2>What changed</h2>\n<ul>\n"
    for each in report.changes:
        how = "worse" if each.slower else "better"
        yield f'<li class="{how}">{_said(shown.change(each))}</li>\n'
    yield "</ul>\n"


def _table(groups: Sequence[Group], total: Group) -> Iterator[str]:
    yield '<div class="wide" role="region" aria-label="Numbers by prompt" tabindex="0">\n<table>\n'
    yield "<caption>Of one turn: the median, and below it P95. Failed are queries.</caption>\n"
    yield "<thead><tr>"
    for number, title in enumerate(_HEADS):
        kind = ' class="text"' if number < 2 else ""
        yield f'<th scope="col"{kind}>{title}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for group in groups:
        yield _row(group)
    yield "</tbody>\n"
    if len(groups) != 1:
        yield f"<tfoot>\n{_row(total)}</tfoot>\n"
    yield "</table>\n</div>\n"


def _row(group: Group) -> str:
    prompt = group.prompt
    cells = (
        shown.times(group.duration),
        shown.times(group.model),
        shown.times(group.database),
        shown.shares(group.share),
        shown.numbers(group.queries),
        shown.failures(group),
    )
    verdicts = (
        f'<td class="{each.part if each else ""}">{shown.verdict(each)}</td>'
        for each in (group.typical, group.slow)
    )
    name = prompt.label if prompt else "All turns"
    model = (prompt.model or shown.DASH) if prompt else ""
    return (
        f'<tr><th scope="row" class="text">{_said(name)}</th><td class="text">{_said(model)}</td>'
        f"<td>{group.turns:,}</td>"
        + "".join(verdicts)
        + "".join(f"<td>{_stacked(cell)}</td>" for cell in cells)
        + "</tr>\n"
    )


def _stacked(cell: str) -> str:
    """Return median and P95 one above the other."""
    median, between, p95 = cell.partition(" / ")
    return f"{median}<small>{p95}</small>" if between else cell


def _queries(group: Group) -> Iterator[str]:
    if not group.top_queries and not group.repeated:
        return
    model = f", {group.prompt.model}" if group.prompt and group.prompt.model else ""
    name = group.prompt.label if group.prompt else "All turns"
    yield f"<h3>{_said(name + model)}</h3>\n"
    if group.repeated:
        yield "<ul>\n"
        for each in group.repeated:
            place = f" at <code>{_said(each.place)}</code>" if each.place else ""
            yield f'<li class="database">N+1: up to {each.most:,} times within a turn, in '
            yield f"{shown.turns(each.turns)}{place}: <code>{_said(each.text)}</code></li>\n"
        yield "</ul>\n"
    if not group.top_queries:
        return
    yield '<div class="wide"><table>\n<thead><tr><th scope="col" class="text">Query</th>'
    yield '<th scope="col">Time in all</th><th scope="col">Runs</th><th scope="col">Slowest</th>'
    yield '<th scope="col">Turns</th></tr></thead>\n<tbody>\n'
    for query in group.top_queries:
        runs = shown.DASH if query.count is None else f"{query.count:,}"
        yield f'<tr><td class="text query"><code>{_said(query.text)}</code></td>'
        yield f"<td>{shown.duration(query.time_ms)}</td><td>{runs}</td>"
        yield f"<td>{shown.duration(query.slowest_ms)}</td><td>{query.turns:,}</td></tr>\n"
    yield "</tbody></table></div>\n"


def _notes(report: Report) -> Iterator[str]:
    if caveats := shown.caveats(report):
        yield "<h2>What these numbers do not say</h2>\n<ul>\n"
        yield from (f"<li>{_said(each)}</li>\n" for each in caveats)
        yield "</ul>\n"
    yield '<h2>How they are had</h2>\n<ul class="faint">\n'
    yield from (f"<li>{_said(each)}</li>\n" for each in RULES.values())
    yield "</ul>\n"


def _said(text: str) -> str:
    return escape(plain(text))
