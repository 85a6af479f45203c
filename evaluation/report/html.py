"""One self-contained HTML page from text, tables and figures: no script, no external file."""

import base64
import html

CSS = """
:root { --ink: #222833; --muted: #697180; --line: #e3e6ec; --soft: #f6f7f9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--soft); color: var(--ink);
       font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 0 0 10px; }
h3 { font-size: 14px; margin: 22px 0 6px; }
p { margin: 6px 0; max-width: 76ch; }
.muted, figcaption, .note { color: var(--muted); font-size: 13px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
          padding: 22px 24px; margin-top: 20px; }
figure { margin: 0; }
figure img { display: block; width: 100%; max-width: 920px; height: auto; }
figcaption { margin-top: 8px; max-width: 84ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 12px; line-height: 1.4;
        font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--muted); vertical-align: bottom;
     border-bottom: 1.5px solid var(--line); padding: 5px 7px; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 5px 7px;
     white-space: nowrap; }
td.wide { white-space: normal; min-width: 240px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.text { text-align: left; }
tr:last-child td { border-bottom: 0; }
tr.sum td { border-top: 1.5px solid var(--line); font-weight: 600; }
details { border-top: 1px solid var(--line); padding: 9px 0; }
details:first-of-type { border-top: 0; }
summary { cursor: pointer; font-weight: 600; }
summary .muted { font-weight: 400; margin-left: 8px; }
@media print { body { background: #fff; } section { border: 0; padding: 12px 0; } }
"""


def escape(text):
    return html.escape(str(text))


def note(text):
    """HTML of a paragraph for what the reader should know besides."""
    return f'<p class="note">{escape(text)}</p>'


def figure(title, png, caption):
    """HTML section with one PNG inside."""
    data = base64.b64encode(png).decode("ascii")
    return section(
        "",
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>",
    )


def section(title, content):
    head = f"<h2>{escape(title)}</h2>" if title else ""
    return f"<section>{head}{content}</section>"


def details(title, aside, content):
    return (
        f'<details><summary>{escape(title)}<span class="muted">{escape(aside)}</span></summary>'
        f"{content}</details>"
    )


def page(title, subtitle, sections):
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="muted">{escape(subtitle)}</p>'
        + "\n".join(sections)
        + "</main></body></html>\n"
    )
