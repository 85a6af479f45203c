import io

from training.progress import LOG_LINES, ProgressLine


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
