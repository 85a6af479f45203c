"""Reports and measurements of trained models: python -m evaluation VERB ...

    python -m evaluation runs           the report of all runs below the folder runs
    python -m evaluation VERB --help    what a verb does, and its options

Without a verb the arguments are those of `report`. The verbs:
"""

import importlib
import sys

VERBS = {
    "report": ("report.command", "table and HTML page of trained runs"),
    "results": ("committed.results", "tables and plots of the committed results"),
    "keep": ("committed.keep", "copy finished runs to the committed results"),
    "remeasure": ("committed.remeasure", "measure trained models again, compare with the record"),
    "multiplication-free": ("committed.multiplication_free",
                            "run the low-bit products of a network by additions and shifts"),
    "convert": ("conversion.convert", "convert a trained recurrent network to hybrid-spiking"),
    "spiking": ("conversion.spiking", "convert convolutional networks to integrate-and-fire"),
    "bayes": ("calibration.bayes", "compare three learning rules of binary weights"),
    "benchmark": ("speed.benchmark", "time layers beside keras-lmu, LSTM, GRU and ReLU"),
    "time-to-accuracy": ("speed.time_to_accuracy", "time trainings up to a validation accuracy"),
}  # fmt: skip


def help_text() -> str:
    """The verbs, one line each."""
    width = max(map(len, VERBS))
    return "\n".join(
        [__doc__, *(f"    {name:<{width}}  {line}" for name, (_, line) in VERBS.items())]
    )


def main(argv: list[str] | None = None) -> int:
    """Command line. Returns the exit status of the verb."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text())
        return 0 if argv else 2
    if argv[0] not in VERBS:
        argv.insert(0, "report")
    module, _ = VERBS[argv[0]]
    return importlib.import_module(f"evaluation.{module}").main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
