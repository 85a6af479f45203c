import io

import numpy as np

from training.progress import LOG_LINES, ProgressLine, ScoringLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(stream, epochs=40):
    line = ProgressLine("hybrid-lmu", epochs, 5, "val_accuracy", stream)
    line.on_train_begin()
    for epoch in range(epochs):
        line.on_epoch_begin(epoch)
        line.on_train_batch_end(4)
        line.on_epoch_end(epoch, {"loss": 1.25, "val_accuracy": 0.9, "resolutions": [8.0, 2.5]})
    line.on_train_end()
    return stream.getvalue()


def test_a_log_file_gets_few_plain_lines():
    text = show(io.StringIO())
    assert "\r" not in text and "\x1b" not in text
    assert len(text.splitlines()) == LOG_LINES
    last = text.splitlines()[-1]
    assert "40/40" in last and "loss 1.2500" in last and "val. accuracy 0.9000" in last
    assert "resolution 8/2.5" in last


def test_a_terminal_gets_one_line_redrawn():
    text = show(Terminal())
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text.count("\r") >= 40


def test_lines_fit_a_terminal():
    assert max(map(len, show(io.StringIO()).splitlines())) < 120


def test_the_test_shows_how_much_is_done(monkeypatch):
    """A line each 10 seconds in a log file; one line in a terminal, redrawn."""
    now = iter(range(0, 600, 6))
    monkeypatch.setattr("training.progress.time.monotonic", lambda: next(now))
    log = io.StringIO()
    line = ScoringLine("lstm", log)
    line.begin("every step", 250, 100)
    for batch in range(3):
        line.on_predict_batch_end(batch)
    line.end()
    assert log.getvalue().splitlines() == [
        "lstm         testing: every step, 100 of 250 sequences    12 s",
        "lstm         testing: every step, 250 of 250 sequences    24 s",
    ]

    terminal = Terminal()
    line = ScoringLine("lstm", terminal)
    line.begin("counts", 250, 100)
    assert [len(part) for part in line.batches(np.zeros(250))] == [100, 100, 50]
    line.end()
    assert terminal.getvalue().count("\n") == 1 and "250 of 250" in terminal.getvalue()
