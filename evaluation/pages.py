"""The report page of a list of runs: summary, figures, then every run's tables."""

import datetime
import re

from evaluation import report, tables
from training.summary import summary_table


def build(runs, figures, notes=()):
    """HTML of the page.

    figures: list of figures.Figure, in the order shown. notes: sentences below the summary.
    """
    tasks = ", ".join(dict.fromkeys(r.task for r in runs))
    models = ", ".join(dict.fromkeys(r.model for r in runs))
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    sections = [report.section("Summary", _summary(runs) + "".join(map(report.note, notes)))]
    sections += [report.figure(f.title, f.png, f.caption) for f in figures]
    sections.append(
        report.section(
            "Operations and energy",
            '<p class="note">Every product is listed by itself, the memory\'s own A and B products '
            "too. Energies are estimates from published constants, each with its source.</p>"
            + "".join(_costs(run) for run in runs),
        )
    )
    sections.append(
        report.section(
            "Environment and options",
            "".join(
                report.details(
                    run.path.name,
                    _origin(run),
                    report.block(tables.environment(run)) + report.block(tables.options(run)),
                )
                for run in runs
            ),
        )
    )
    return report.page(
        f"Runs on {tasks}",
        f"{len(runs)} runs ({models}), made {now} by python -m evaluation",
        sections,
    )


def _summary(runs):
    """The table that training prints, as HTML: its line of dashes says where the columns are."""
    lines = summary_table([run.metrics for run in runs]).splitlines()
    spans = [m.span() for m in re.finditer("-+", lines[1])]
    end = lines.index("")
    cells = [[line[a:b].strip() for a, b in spans] for line in lines[:1] + lines[2:end]]
    legend = " ".join(lines[end:]).strip()
    return report.table(cells[0], cells[1:]) + report.note(legend)


def _costs(run):
    content = "".join(
        report.block(make(run)) for make in (tables.activities, tables.products, tables.energy)
    )
    return report.details(run.path.name, run.label, content or '<p class="note">not measured</p>')


def _origin(run):
    facts = run.metrics.get("environment") or {}
    return ", ".join(str(facts[k]) for k in ("backend", "commit", "date") if facts.get(k))
