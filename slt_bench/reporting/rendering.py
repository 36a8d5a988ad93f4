"""Pages and tables as Markdown, LaTeX, HTML and CSV, and the files of a report.

The files depend on the records alone: no dates, no host names, one order.
"""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

import jinja2
import pandas as pd
from tabulate import tabulate

from slt_bench.errors import unknown
from slt_bench.reporting.columns import KEYS
from slt_bench.reporting.figures import draw_figures
from slt_bench.reporting.pages import Page
from slt_bench.reporting.tables import Table
from slt_bench.store import write_atomically

FORMATS = ("md", "tex", "html", "csv")


def render(
    what: Page | Table, format: str = "md", *, figures: Sequence[Path] = (), document: bool = False
) -> str:
    """A page or one of its tables as text.

    Args:
        format: ``md``, ``tex`` (needs booktabs), ``html`` (one file, figures inside) or ``csv``
            (of a page: its summary, one line a row with every number).
        figures: pictures to show after the tables (md, html).
        document: a LaTeX document that compiles alone, in place of tables to ``\\input``.

    Raises:
        UsageError: an unknown format.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    tables = what.tables if isinstance(what, Page) else (what,)
    if format == "csv":
        return _csv(what.summary if isinstance(what, Page) else what.raw)
    if format == "md":
        if isinstance(what, Table):
            return _markdown_table(what)
        return _markdown_page(what, figures)
    if format == "tex":
        provenance = what.provenance if isinstance(what, Page) else ()
        return _latex(tables, provenance, document)
    return _html(what, tables, figures)


def write_report(page: Page, reports: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write ``tables/<name>.<format>``, ``tables/<name>.verdicts.json`` and ``figures/*.png``.

    A page may say another folder for its Markdown.

    Raises:
        UsageError: an unknown format; nothing has been written then.
    """
    for format in formats:
        if format not in FORMATS:
            raise unknown("format", format, FORMATS)
    figures = draw_figures(page, reports / "figures")
    written = []
    for format in formats:
        folder = page.markdown_folder if format == "md" else "tables"
        path = reports / folder / f"{page.name}.{format}"
        write_atomically(path, render(page, format, figures=figures))
        written.append(path)
    if page.verdicts:
        path = reports / "tables" / f"{page.name}.verdicts.json"
        write_atomically(path, json.dumps(page.verdicts, indent=1) + "\n")
        written.append(path)
    return written + figures


# Markdown ------------------------------------------------------------------------------------


def _markdown_page(page: Page, figures: Sequence[Path]) -> str:
    parts = [f"# {page.title}", *(_markdown_text(text) for text in page.text)]
    for table in page.tables:
        parts += [f"## {_markdown_text(table.title)}", _markdown_table(table)]
    if figures:
        parts.append("## Figures")
        up = "../" if page.markdown_folder else ""
        parts += [f"![{_caption(path)}]({up}figures/{path.name})" for path in figures]
    if page.verdicts:
        parts.append(f"The verdicts as JSON: `{page.name}.verdicts.json`.")
    parts += ["## Where the numbers come from"]
    parts.append("`slt-bench show KEY` prints the record behind a key.")
    parts += [_markdown_text(line) for line in page.provenance]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    shown = table.shown.map(_markdown_cell)
    text = tabulate(
        shown.to_numpy().tolist(),
        headers=[_markdown_cell(column.header) for column in table.columns],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=[column.align for column in table.columns],
    )
    notes = "\n".join(f"* {_markdown_text(note)}" for note in table.notes)
    return "\n\n".join(filter(None, (text, _markdown_text(table.caption), notes)))


def _markdown_text(text: str) -> str:
    return text.replace("<", "\\<").replace("*", "\\*")


def _markdown_cell(text: str) -> str:
    return _markdown_text(text).replace("|", "\\|").replace("\n", " ")


def _caption(path: Path) -> str:
    return path.stem.replace("_", " ")


# LaTeX ---------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line's end \\ a bracket would be read as an argument
    "]": "{]}",
    "*": "$^*$",
    "±": r"$\pm$",
    "—": r"\textemdash{}",
    "–": r"\textendash{}",
    "×": r"$\times$",
}
#: Begins a cell that breaks into lines; the second part keeps the row's own end working.
_RAGGED = r"\raggedright\let\\\tabularnewline "


def _latex_text(text: str) -> str:
    """Escaped for LaTeX; letters that no plain pdflatex sets lose their accents or become ``?``."""
    out = []
    for letter in text:
        if letter in _LATEX:
            out.append(_LATEX[letter])
        elif letter.isascii():
            out.append(letter)
        else:
            plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
            out.append("".join(_LATEX.get(c, c) for c in plain) or "?")
    return "".join(out).replace("--", "-{}-")  # no dash in place of an option's two hyphens


def _latex(tables: Sequence[Table], provenance: Sequence[str], document: bool) -> str:
    body = "\n".join(_latex_table(table, provenance) for table in tables)
    if not document:
        return "% Needs \\usepackage{booktabs} in the preamble.\n" + body
    head = (
        "\\documentclass{article}\n"
        "\\usepackage[a4paper,landscape,margin=1cm]{geometry}\n"
        "\\usepackage{booktabs}\n"
        "\\begin{document}\n"
    )
    return f"{head}{body}\\end{{document}}\n"


def _latex_table(table: Table, provenance: Sequence[str]) -> str:
    """A float; the keys and the notes stand below, where they may break into lines."""
    shown = table.shown
    cells, layout = pd.DataFrame(index=shown.index), ""
    for column in table.columns:
        if column is KEYS:
            continue
        texts = shown[column.header].map(_latex_text)
        if column.wide and texts.str.len().max() > 30:
            texts, layout = _RAGGED + texts, layout + "p{3.5cm}"
        else:
            layout += column.align[0]
        cells[_latex_text(column.header)] = texts
    tabular = cells.style.hide(axis="index").to_latex(column_format=layout, hrules=True)
    parts = (table.title, table.caption, *provenance)
    caption = " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)
    notes = list(table.notes)
    if KEYS in table.columns:
        keys = zip(shown.iloc[:, 0], shown[KEYS.header], strict=True)
        notes.insert(0, f"Keys: {'; '.join(f'{row} {key}' for row, key in keys)}.")
    below = "".join(f"\\par {_latex_text(note)}\n" for note in notes)
    return (
        "\\begin{table}[htbp]\n\\centering\\scriptsize\\setlength{\\tabcolsep}{3pt}\n"
        f"\\caption{{{_latex_text(caption)}}}\n"
        f"{tabular}"
        f"\\raggedright\\tiny\n{below}\\end{{table}}\n"
    )


# HTML ----------------------------------------------------------------------------------------

_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; font-size: .875rem;
        border-top: 2px solid; border-bottom: 2px solid; }
th { border-bottom: 1px solid; vertical-align: bottom; }
th, td { padding: .25rem .6rem; text-align: left; }
.right { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.key { font-family: monospace; font-size: .75rem; color: #555; }
.scroll { overflow-x: auto; }
.caption, li { font-size: .875rem; color: #444; max-width: 55rem; }
img { max-width: 100%; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for text in texts %}<p>{{ text }}</p>
{% endfor %}
{%- for table in tables %}
<h2>{{ table.title }}</h2>
<div class="scroll"><table>
<thead><tr>
{%- for c in table.columns %}<th class="{{ c.align }}" scope="col">{{ c.header }}</th>{% endfor -%}
</tr></thead>
<tbody>
{%- for row in table.shown.to_numpy().tolist() %}
<tr>{% for c in table.columns -%}
<td class="{{ 'key' if c.header == 'keys' else c.align }}">{{ row[loop.index0] }}</td>
{%- endfor %}</tr>
{%- endfor %}
</tbody>
</table></div>
<p class="caption">{{ table.caption }}</p>
{% if table.notes %}<ul>{% for note in table.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
{%- endfor %}
{% for name, data in figures %}
<h2>{{ name }}</h2>
<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">
{% endfor %}
{%- if provenance %}
<h2>Where the numbers come from</h2>
<p><code>slt-bench show KEY</code> prints the record behind a key.</p>
{% for line in provenance %}<p>{{ line }}</p>
{% endfor %}
{%- endif %}
</body>
</html>
"""


def _html(what: Page | Table, tables: Sequence[Table], figures: Sequence[Path]) -> str:
    environment = jinja2.Environment(autoescape=True, keep_trailing_newline=True)
    page = what if isinstance(what, Page) else None
    return environment.from_string(_HTML).render(
        title=what.title,
        texts=page.text if page else (),
        tables=tables,
        provenance=page.provenance if page else (),
        figures=[(_caption(p), base64.b64encode(p.read_bytes()).decode()) for p in figures],
    )


# CSV -----------------------------------------------------------------------------------------


def _csv(frame: pd.DataFrame) -> str:
    """Numbers at full precision; lists and values by seed as JSON."""

    def plain(value: object) -> object:
        return json.dumps(value) if isinstance(value, dict | list) else value

    rows = [[plain(value) for value in row] for row in frame.to_numpy(dtype=object)]
    # As objects, so that a whole number stays one where another row has none.
    plain_frame = pd.DataFrame(rows, columns=frame.columns, dtype=object)
    text: str = plain_frame.to_csv(index=False, lineterminator="\n")
    return text
