"""A spiking network whose layers learn from local losses, one update a time step."""

import math
import random

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_positive_integer
from hybrid_lmu._internal.keras_compat import set_untracked
from hybrid_lmu.local_learning import _steps as steps
from hybrid_lmu.local_learning._connections import Connection, as_connection
from hybrid_lmu.local_learning._functional import on_backend
from hybrid_lmu.local_learning._losses import get_loss
from hybrid_lmu.local_learning._rules import LearningRule, check_rule
from hybrid_lmu.neurons import Sigmoid, SRMCell, Surrogate


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LocalSpikingNetwork(keras.Model):
    """Layers of spike response neurons, of binary or real weights, that learn from local losses.

    Inputs: [batch, time, features...], spikes (0 or 1) or other numbers. Output: [batch, outputs],
    the mean over all steps after `burn_in` of the probabilities (in regression, of the values) that
    are read from the spikes of the last layer. Each layer has a readout of its own, fixed and
    random, of entries +1 and -1, and learns from its own loss at each of these steps;
    `hybrid_lmu.local_learning._steps` has the equations. No gradient goes through layers or time,
    so memory does not grow with the number of steps.

    Args:
        hidden: the layers, first to last: a list of numbers of units (dense layers without bias),
            or of `DenseConnection` and `Conv2DConnection`.
        outputs: number of values read, >= 1.
        rule: a `LearningRule`: `StraightThroughRule`, `BayesianRule`, `FullPrecisionRule`, or one
            of your own.
        loss: the loss of one step: ``"binary_crossentropy"`` (default; targets 0 or 1),
            ``"sparse_categorical_crossentropy"`` (integer labels) or ``"huber"`` (real targets).
            The targets are the same at all steps.
        burn_in: number of first steps that only advance the states, >= 0. Default 10.
        tau_mem, tau_syn, tau_ref: time constants in steps, > 0: of the membrane, of the synapse and
            of the recovery after a spike, see `hybrid_lmu.neurons.SRM`. Defaults 10, 6 and 2.
        surrogate: derivative of a spike, see `hybrid_lmu.neurons.surrogates`. Default ``"boxcar"``.
        seed: integer seed of the first latent values, the readouts and the draws of weights.
            Default ``None``: a random one.

    Compile the model with plain `keras.optimizers.SGD`: its learning rate, a number or a schedule
    that is asked once a batch, is the size of a step, and nothing else of the optimizer is used.
    `compile` takes metrics as usual; they see the output above. In training the weights are those
    of the rule (relaxed samples for `BayesianRule`). `evaluate`, `predict` and a call use the mode
    of each weight; `predict_samples` draws from the posterior.

    Example:

    >>> from hybrid_lmu.local_learning import BayesianRule, LocalSpikingNetwork, predict_samples
    >>> model = LocalSpikingNetwork([16], 1, BayesianRule(), burn_in=2, seed=0)
    >>> model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    >>> x = np.random.RandomState(0).binomial(1, 0.5, (8, 6, 4)).astype("float32")
    >>> y = np.arange(8) % 2
    >>> history = model.fit(x, y, epochs=2, verbose=0)
    >>> predict_samples(model, x, "ensemble", samples=3).shape
    (3, 8, 1)

    Raises:
        ValueError: for arguments out of range; in training, for another optimizer, a `loss` given
            to `compile`, or sequences that are not longer than `burn_in`.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300. Two choices are ours: one draw of
    the weights for the whole burn-in, and the first weights of the full-precision rule.
    """

    def __init__(
        self,
        hidden: list[int | Connection],
        outputs: int,
        rule: LearningRule,
        loss: str = "binary_crossentropy",
        *,
        burn_in: int = 10,
        tau_mem: float = 10.0,
        tau_syn: float = 6.0,
        tau_ref: float = 2.0,
        surrogate: str | Surrogate = "boxcar",
        seed: int | None = None,
        **kwargs,
    ):
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError(f"`hidden` must be a list of one layer or more; received: {hidden!r}")
        if isinstance(burn_in, bool) or not isinstance(burn_in, int) or burn_in < 0:
            raise ValueError(f"`burn_in` must be an integer >= 0; received: {burn_in!r}")
        super().__init__(**{"dtype": "float32", **kwargs})
        if self.dtype_policy.name != "float32":
            raise ValueError(
                f"`{self.name}` computes in float32; received dtype {self.dtype_policy.name!r}"
            )
        self.connections = tuple(as_connection(value) for value in hidden)
        self.outputs_read = check_positive_integer("outputs", outputs)
        self.rule = check_rule(rule)
        self.step_loss, self._loss_name = get_loss(loss), loss
        self.burn_in = burn_in
        # It has no weights, so that it is no layer of the model.
        neuron = SRMCell(None, tau_mem, tau_syn, tau_ref, surrogate=surrogate, dtype="float32")
        set_untracked(self, "neuron", neuron)
        self.seed = random.randrange(2**31) if seed is None else int(seed)
        # Its state is set from the seeds of `build`, which are weights and so are saved.
        self.generator = keras.random.SeedGenerator(self.seed)

    def build(self, input_shape):
        if len(input_shape) < 3 or None in input_shape[2:]:
            raise ValueError(
                f"`{self.name}` expects inputs of shape [batch, time, features...]; received "
                f"shape {tuple(input_shape)}."
            )
        values = np.random.default_rng(self.seed)
        seed = np.array([self.seed, 0])
        self.training_seed = self._variable("training_seed", seed, self.generator.state.dtype)
        self.prediction_seed = self._variable("prediction_seed", seed, self.generator.state.dtype)
        # 0: the mode of each weight; 1: a draw.
        self.drawing = self._variable("drawing", np.zeros(()))
        self.latents, self.readouts, self._inputs = [], [], []
        shape = tuple(input_shape[2:])
        for i, connection in enumerate(self.connections):
            self._inputs.append(shape)
            shapes = connection.weight_shapes(shape)
            self.latents.append(
                [
                    self._variable(f"{name}_{i}", self.rule.initial(size, values), trainable=True)
                    for name, size in shapes.items()
                ]
            )
            shape = connection.outputs(shape)
            readout = values.choice([-1.0, 1.0], (math.prod(shape), self.outputs_read))
            self.readouts.append(self._variable(f"readout_{i}", readout))
        self.built = True

    def _variable(self, name, value, dtype="float32", trainable=False):
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype),
            trainable=trainable,
            dtype=dtype,
            autocast=False,
        )

    def call(self, x):
        return self._run(x)[1]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.outputs_read)

    def train_step(self, *state_and_data):
        return on_backend(self._learn, self._groups(optimizer=True), *state_and_data)

    def test_step(self, *state_and_data):
        return on_backend(self._test, self._groups(optimizer=False), *state_and_data)

    def predict_step(self, *state_and_data):
        groups = (self.trainable_variables, self.non_trainable_variables)
        result = on_backend(self._predict, groups, *state_and_data)
        if len(state_and_data) == 1:
            return result
        outputs, (_, non_trainable) = result
        return outputs, non_trainable

    def _groups(self, optimizer):
        """The variables of a step, in the groups that Keras' trainer for JAX hands over."""
        groups = [self.trainable_variables, self.non_trainable_variables]
        groups += [self.optimizer.variables] if optimizer else []
        return (*groups, self.metrics_variables)

    def _learn(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._check_compiled()
        self._build_for(x)
        latents, seed, loss, prediction = steps.learn(
            self._layers_now(), self.rule, self.step_loss, self._latents_now(),
            (self.generator, ops.convert_to_tensor(self.training_seed)),
            self._sequences(x), self._target(y),
            self._weight(x, sample_weight),
            ops.cast(self.optimizer.learning_rate, "float32"), self.burn_in,
        )  # fmt: skip
        for variables, values in zip(self.latents, latents, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self.training_seed.assign(seed)
        self.optimizer.iterations.assign_add(1)
        return self._logs(x, y, prediction, sample_weight, loss)

    def _test(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        loss, prediction = self._run(x, self._target(y))
        loss = ops.mean(self._weight(x, sample_weight) * loss)
        return self._logs(x, y, prediction, sample_weight, loss)

    def _predict(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self._run(x)[1]

    def _logs(self, x, y, prediction, sample_weight, loss):
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=ops.shape(x)[0])
        return self.compute_metrics(x, y, prediction, sample_weight)

    def _run(self, x, target=None):
        self._build_for(x)
        weights = steps.drawn_weights(
            self.rule, self._latents_now(),
            (self.generator, ops.convert_to_tensor(self.prediction_seed)),
            ops.convert_to_tensor(self.drawing),
        )  # fmt: skip
        x = self._sequences(x)
        return steps.run(self._layers_now(), self.step_loss, weights, x, self.burn_in, target)

    def _build_for(self, x):
        if not self.built:  # the first step of a model that has not been called
            self.build(tuple(x.shape))

    def _layers_now(self):
        return [
            steps.LocalLayer(connection, inputs, ops.convert_to_tensor(readout), self.neuron)
            for connection, inputs, readout in zip(
                self.connections, self._inputs, self.readouts, strict=True
            )
        ]

    def _latents_now(self):
        # PyTorch would record each step of the loop for a gradient that nobody asks for.
        return [
            [ops.stop_gradient(ops.convert_to_tensor(variable)) for variable in variables]
            for variables in self.latents
        ]

    def _sequences(self, x):
        """Time first; ValueError for inputs of another shape or too few steps."""
        x = ops.cast(x, "float32")
        if tuple(x.shape[2:]) != self._inputs[0]:
            raise ValueError(
                f"`{self.name}` expects inputs of shape [batch, time, "
                f"{', '.join(map(str, self._inputs[0]))}]; received shape {tuple(x.shape)}."
            )
        if x.shape[1] is not None and x.shape[1] <= self.burn_in:
            raise ValueError(
                f"`{self.name}` expects sequences of more than burn_in={self.burn_in} steps; "
                f"received shape {tuple(x.shape)}."
            )
        return ops.moveaxis(x, 1, 0)

    def _target(self, y):
        """[batch, outputs]; ValueError for labels of another shape."""
        expected = self.step_loss.labels or self.outputs_read
        if math.prod(y.shape[1:]) != expected:
            raise ValueError(
                f"`{self.name}` with loss={self._loss_name!r} and outputs={self.outputs_read} "
                f"expects {expected} number(s) a sample as targets; received shape "
                f"{tuple(y.shape)}."
            )
        return self.step_loss.target(y, self.outputs_read)

    @staticmethod
    def _weight(x, sample_weight):
        ones = ops.ones((ops.shape(x)[0],))
        return ones if sample_weight is None else ones * ops.cast(sample_weight, "float32")

    def _check_compiled(self):
        extra = ("momentum", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema",
                 "loss_scale_factor", "gradient_accumulation_steps")  # fmt: skip
        values = {key: getattr(self.optimizer, key, None) for key in extra}
        given = [f"{key}={value!r}" for key, value in values.items() if value]
        if not isinstance(self.optimizer, keras.optimizers.SGD) or given:
            raise ValueError(
                f"`{self.name}` learns by its own rule and takes the learning rate alone from a "
                "plain keras.optimizers.SGD(learning_rate); received: "
                f"{type(self.optimizer).__name__}({', '.join(given)})"
            )
        if self.loss is not None:
            raise ValueError(
                f"`{self.name}` has the loss of its steps, loss={self._loss_name!r}; `compile` "
                f"takes none. Received: {self.loss!r}"
            )

    def get_config(self):
        serialize, neuron = keras.saving.serialize_keras_object, self.neuron
        return {
            **super().get_config(),
            "hidden": [serialize(connection) for connection in self.connections],
            "outputs": self.outputs_read,
            "rule": serialize(self.rule),
            "loss": self._loss_name,
            "burn_in": self.burn_in,
            "tau_mem": neuron.filter.tau_mem,
            "tau_syn": neuron.filter.tau_syn,
            "tau_ref": neuron.tau_ref,
            "surrogate": serialize(neuron.surrogate),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        rule = keras.saving.deserialize_keras_object(config["rule"])
        surrogate = config["surrogate"]
        if surrogate == "sigmoid":  # a file of version 0.1, where this name meant alpha=1
            surrogate = Sigmoid(alpha=1.0)
        return cls(**{**config, "rule": rule, "surrogate": surrogate})
