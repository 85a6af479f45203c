"""The report page of a list of runs: summary, figures, then every run's tables."""

import datetime

from evaluation.report import costs, html
from evaluation.tables import Table
from training.summary import summary_rows


def build(runs, figures, notes=()) -> str:
    """HTML of the page.

    Args:
        runs: `Run`s, in the order of the summary.
        figures: `figures.Figure`s, in the order shown.
        notes: sentences below the summary.
    """
    tasks = ", ".join(dict.fromkeys(r.task for r in runs))
    models = ", ".join(dict.fromkeys(r.model for r in runs))
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    header, rows, legend = summary_rows([run.metrics for run in runs])
    summary = Table(header, rows, note=" ".join(legend)).html() + "".join(map(html.note, notes))
    operations = html.note(
        "Every product is listed by itself, the memory's own A and B products too. Energies are "
        "estimates from published constants, each with its source."
    )
    return html.page(
        f"Runs on {tasks}",
        f"{len(runs)} runs ({models}), made {now} by python -m evaluation",
        [
            html.section("Summary", summary),
            *(html.figure(f.title, f.png, f.caption) for f in figures),
            html.section("Operations and energy", operations + "".join(map(_costs, runs))),
            html.section("Environment and options", "".join(map(_environment, runs))),
        ],
    )


def _costs(run):
    tables = (costs.activities(run), costs.products(run), costs.energy(run))
    content = "".join(table.html() for table in tables) or html.note("not measured")
    return html.details(run.path.name, run.label, content)


def _environment(run):
    facts = run.record.environment or {}
    origin = ", ".join(str(facts[k]) for k in ("backend", "commit", "date") if facts.get(k))
    content = costs.environment(run).html() + costs.options(run).html()
    return html.details(run.path.name, origin, content)
