"""The recipe of every task.

A recipe is a plain dict; ``"*"`` holds what all models of the task share, a model's own entry
wins over it, and an option given on the command line wins over both.
"""

# Chosen on the validation split, seed 0; what was tried stands in evaluation/results/README.md.
_MNIST = {
    "*": dict(
        epochs=15, batch_size=100, parameters=102_000, learning_rate=1e-3, schedule="cosine",
        clip_norm=1.0,
    ),
    # 165,000 parameters as the feed-forward LMU of Chilkuri & Eliasmith (2021), arXiv:2102.11417.
    "hybrid-lmu": dict(
        epochs=40, parameters=166_000, order=468, theta=784.0, hidden="dense", learning_rate=6e-3,
        clip_norm=None, dropout=0.4, memory_dropout=0.2, memory_unit="deviation",
        memory_resolution=2.0, hidden_resolution=1.0, memory_limit=3.0, hidden_limit=7.0,
        anneal_fraction=0.5, readout="mean", readout_steps=4,
    ),
    "hybrid-lmu-recurrent": dict(
        order=400, theta=784.0, hidden="relu-rnn", learning_rate=3e-3, memory_dropout=0.2,
        dropout=0.3, memory_unit="deviation", memory_resolution=2.0, hidden_resolution=1.0,
        memory_limit=3.0, hidden_limit=7.0, anneal_fraction=0.5, simulated_steps=16,
        readout="mean", readout_steps=4,
    ),
    "hybrid-lmu-integer": dict(
        order=128, theta=784.0, hidden="dense", learning_rate=5e-3, dropout=0.4,
        memory_feedback="integrated", input_resolution=15.0, memory_bits=4.5, hidden_bits=2.2,
        anneal_fraction=0.5, readout="mean", readout_steps=4,
    ),
    "lmu": dict(order=256, theta=784.0, hidden="rnn"),
    "gru": dict(learning_rate=3e-3),
    "hybrid-lstm": dict(hidden_resolution=6.0),
    "hybrid-gru": dict(learning_rate=3e-3, hidden_resolution=6.0),
}  # fmt: skip

# Chosen on the validation split, seeds 0-2. LMUs: order 32 to 64, dropout 0 to 0.2, resolutions 4
# to 8 and 1 to 2. LSTM and GRU: rate 1e-3 to 3e-2, gradient clipping. All: both schedules.
_DIGITS_LMU = dict(order=56, theta=64.0, hidden="dense", dropout=0.1)
_DIGITS_RNN = dict(learning_rate=1e-2, clip_norm=1.0)

# Chosen on the validation split of N-MNIST; the others of this kind are untried.
_EVENTS = {
    "*": dict(
        epochs=60, batch_size=32, parameters=17_000, learning_rate=5e-3, schedule="cosine",
        dropout=0.2,
    ),
}  # fmt: skip

RECIPES = {
    "digits": {
        "*": dict(epochs=60, batch_size=32, parameters=6_000, learning_rate=3e-3),
        "hybrid-lmu": dict(
            **_DIGITS_LMU, start_resolution=64.0, memory_resolution=6.0, hidden_resolution=1.0,
            anneal_fraction=0.7,
        ),
        "lmu": _DIGITS_LMU,
        "lstm": _DIGITS_RNN,
        "gru": _DIGITS_RNN,
        "hybrid-lstm": dict(**_DIGITS_RNN, hidden_resolution=4.0),
        "hybrid-gru": dict(**_DIGITS_RNN, hidden_resolution=4.0),
    },
    "psmnist": _MNIST,
    "smnist": _MNIST,
    "mackey-glass": {
        "*": dict(
            epochs=30, batch_size=16, parameters=8_000, learning_rate=3e-3,
            order=16, theta=50.0, hidden="rnn",
        ),
        "hybrid-lmu": dict(memory_resolution=64.0, hidden_resolution=32.0, start_resolution=256.0),
        "hybrid-lstm": dict(hidden_resolution=32.0, start_resolution=256.0),
        "hybrid-gru": dict(hidden_resolution=32.0, start_resolution=256.0),
    },
    # The hybrid LMU's chosen on five blocks of the training sequences (the hybrid LSTM and GRU take
    # its annealing and resolution), the others' on the validation split; what was tried stands in
    # evaluation/results/README.md.
    "ecg": {
        "*": dict(
            epochs=30, batch_size=16, parameters=12_000, learning_rate=1e-2, schedule="cosine",
            clip_norm=1.0, order=12, theta=240.0, hidden="gru", input_to_hidden=True,
            anneal_fraction=0.4, hidden_resolution=6.0,
        ),
        "hybrid-lmu": dict(dropout=0.2, memory_resolution=6.0),
        "lmu": dict(dropout=0.2),
        "lstm": dict(batch_size=32),
        "hybrid-lstm": dict(batch_size=32),
    },
    "nmnist": _EVENTS,
    "dvs-gesture": _EVENTS,
    "cifar10-dvs": {"*": {**_EVENTS["*"], "parameters": 60_000}},
    "ncaltech101": {"*": {**_EVENTS["*"], "parameters": 200_000}},
}  # fmt: skip


# What low-bit weights change in a recipe: one scale of a kernel wants activities of one size (of a
# memory with exact feedback), and scales that are powers of two make all sums of counts exact.
_EXACT = dict(power_of_two=True, memory_unit="normalized")
LOW_BIT = {
    "*": dict(weight_gradient="wide"),
    "psmnist": _EXACT,
    "smnist": _EXACT,
    "digits": dict(**_EXACT, memory_resolution=2.0),
    "ecg": dict(power_of_two=True, temperature=1000.0, weight_anneal_fraction=0.5),
    "nmnist": dict(weight_anneal_fraction=0.5),
}
