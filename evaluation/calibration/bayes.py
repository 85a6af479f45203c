"""Straight-through, Bayesian and full-precision learning of one network, compared in calibration:

    python -m evaluation bayes --task two-moons bisnn-1d --seeds 0-4 --out runs/bisnn

Trains the network of each task by each rule and seed with the recipe of training/tasks, scores it
on the test split, prints a table (mean and standard deviation over seeds), and writes
TASK.json (scores of every seed, recipes, versions, commit, date) and figures as PNG.
"""

import time

import numpy as np

from evaluation.console import (
    add_backend,
    add_data_dir,
    add_out,
    add_seeds,
    count,
    make_parser,
    note,
    read_seeds,
    run_command,
    start_engine,
)
from evaluation.files import check_writable, write, write_json
from training.tasks import SPIKE_TASKS

BATCH = 250
NOISES = np.geomspace(1e-3, 1.0, 301)  # of the search for the noise of regression targets


def parser():
    p = make_parser("bayes", __doc__)
    p.add_argument("--task", nargs="+", choices=SPIKE_TASKS,
                   default=["two-moons", "bisnn-1d"],
                   help="default: two-moons bisnn-1d, which need no data")  # fmt: skip
    add_data_dir(p)
    add_seeds(p, 0, 4)
    p.add_argument("--samples", type=count, default=10, metavar="K",
                   help="networks drawn for an ensemble or a committee (default: 10)")  # fmt: skip
    p.add_argument("--epochs", type=count, metavar="N", help="default: the recipe's")
    add_out(p, "runs/bisnn")
    add_backend(p, "jax")  # the fastest here by far
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    return run_command(parser(), _compare, argv)


def _compare(args):
    args.seeds = read_seeds(args)
    check_writable(args.out / "bayes.json")
    note(start_engine(args.backend))
    for task in dict.fromkeys(args.task):
        _run(task, args)


def _run(task, args):
    from evaluation.calibration import bayes_report
    from training import bisnn
    from training.environment import describe_environment

    data = bisnn.load(task, args.data_dir)
    recipes = {rule: bisnn.recipe(task, rule) for rule in bisnn.RULES}
    if args.epochs:
        recipes = {rule: {**r, "epochs": args.epochs} for rule, r in recipes.items()}
    results = []
    for rule, recipe in recipes.items():
        for seed in args.seeds:
            network, record = train(data, rule, recipe, seed)
            results += evaluate(network, data, record, args.samples)
            note(f"{task}, {rule}, seed {seed}: {record['seconds']:.0f} s")
    print(bayes_report.table(task, results))
    content = {
        "task": task,
        "samples": args.samples,
        "recipes": recipes,
        "results": [{k: v for k, v in r.items() if k != "arrays"} for r in results],
        "environment": describe_environment(),
    }
    write_json(args.out / f"{task}.json", content)
    for name, png in bayes_report.figures(data, results).items():
        write(args.out / f"{name}.png", png)
    print(f"\nRecord and figures: {args.out}\n")


def train(data, rule, recipe, seed):
    """A trained network, and {"rule", "seed", "seconds", "loss"} of it."""
    from training import bisnn

    start = time.monotonic()
    network, history = bisnn.train(data, rule, recipe, seed)
    seconds = time.monotonic() - start
    return network, {"rule": rule, "seed": seed, "seconds": seconds, "loss": history["loss"][-1]}


def evaluate(network, data, record, samples):
    """One result for each predictor that the network's rule has, of an ensemble and a committee
    with `samples` networks.

    A result is `record` with "predictor", "validation" and "test" (scores of
    `evaluation.calibration.scores`) and "arrays" for the figures.
    """
    from hybrid_lmu.local_learning import PREDICTORS

    score = _classes if data.kind == "classes" else _numbers
    predictors = PREDICTORS if network.rule.stochastic else ("mode",)
    return [
        {**record, "predictor": predictor, **score(network, data, predictor, samples)}
        for predictor in predictors
    ]


def _classes(network, data, predictor, samples):
    from evaluation.calibration.scores import reliability, score_probabilities
    from hybrid_lmu.local_learning import predict_samples
    from training.bisnn import class_probabilities

    def drawn(x):
        return class_probabilities(predict_samples(network, x, predictor, samples, BATCH))

    scores = {}
    for part in ("validation", "test"):
        split = getattr(data, part)
        probabilities = drawn(split.x).mean(axis=0)
        scores[part] = score_probabilities(probabilities, split.y)
    arrays = {"probabilities": probabilities}
    if data.name == "two-moons":
        from training.tasks.two_moons import grid

        of_grid = drawn(grid()[1])[..., 1]
        arrays |= {"mean": of_grid.mean(axis=0), "deviation": of_grid.std(axis=0)}
    return {**scores, "reliability": reliability(probabilities, data.test.y), "arrays": arrays}


def _numbers(network, data, predictor, samples):
    """Normal predictions: the mean over draws, and a variance that is theirs plus a noise.

    The noise is one number, the likeliest on the validation split, for all rules alike. Test
    targets are new noisy observations of the curve; the rmse is against the curve itself.
    """
    from evaluation.calibration.scores import quantile_shares, score_normal
    from hybrid_lmu.local_learning import predict_samples
    from training.tasks import bisnn_1d

    def drawn(x):
        values = predict_samples(network, x, predictor, samples, BATCH)[..., 0].astype("float64")
        return values.mean(axis=0), values.std(axis=0)

    mean, deviation = drawn(data.validation.x)
    targets = data.validation.y[:, 0]
    noise = likeliest_noise(mean, deviation, targets)
    scores = {"validation": score_normal(mean, np.hypot(deviation, noise), targets)}
    curve = data.test.y[:, 0].astype("float64")
    random = np.random.RandomState(4)
    targets = curve + random.normal(0, bisnn_1d.noise_deviation(), len(curve))
    mean, deviation = drawn(data.test.x)
    spread = np.hypot(deviation, noise)
    seen = bisnn_1d.seen(bisnn_1d.GRID)
    for part, rows in (("test", slice(None)), ("test_seen", seen), ("test_gaps", ~seen)):
        scores[part] = score_normal(mean[rows], spread[rows], targets[rows], curve[rows])
    arrays = {"mean": mean, "deviation": spread, "draws": deviation}
    return {
        **scores, "noise": noise, "quantiles": quantile_shares(mean, spread, targets),
        "arrays": arrays,
    }  # fmt: skip


def likeliest_noise(mean, deviation, targets):
    """The deviation of a noise added to normal predictions that makes the targets likeliest."""
    variance = deviation[:, None] ** 2 + NOISES**2
    nll = (0.5 * (targets - mean)[:, None] ** 2 / variance + 0.5 * np.log(variance)).mean(axis=0)
    return float(NOISES[nll.argmin()])
