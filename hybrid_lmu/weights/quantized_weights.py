"""QuantizedWeights: any layer, with kernels of a few levels."""

import inspect
from fnmatch import fnmatchcase

import keras
from keras import ops

from hybrid_lmu.hybrid_cell import call_layer, with_objects
from hybrid_lmu.traversal import all_layers
from hybrid_lmu.weights.quantizer import WeightQuantizer


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class QuantizedWeights(keras.layers.Wrapper):
    """Wrap a layer so that it computes with quantized kernels; its own stay, as latent weights.

    Each time the layer is called, each kernel W is replaced by ``rule(W)`` for the time of the
    call: once, however many steps the layer then makes, so that the gradients of all steps are
    summed before they pass the rule. Works with any layer: Dense, convolutions, SimpleRNN, GRU,
    LSTM, `keras.layers.RNN` around a cell, `HybridLMU`, `keras_lmu.LMU`, Bidirectional,
    TimeDistributed (wrap the outermost of them).

    Args:
        layer: the layer; not a cell, and not a model.
        kernel_quantizer: rule for the weights named ``kernel`` or ``..._kernel``, of the layer and
            of the layers and cells in it: `StraightThroughSign`, `ScaledBinary`, `SumOfSigmoids`,
            `Bernoulli`, or one of your own (`WeightQuantizer`). Each weight gets a copy of it, with
            scales of its own. Default ``None``: full precision.
        recurrent_quantizer: rule for those named ``recurrent_kernel``. Default ``None``.
        exempt: shell patterns; a weight stays at full precision if one matches its path or a part
            of that, such as ``"hidden"`` or ``"lmu_cell/kernel"`` (matched against the end too).

    Biases stay at full precision. Arguments of the call, output and states are those of the layer.

    Example:

    >>> layer = QuantizedWeights(keras.layers.Dense(2, use_bias=False), SumOfSigmoids("binary"))
    >>> _ = layer(np.ones((1, 3), "float32"))
    >>> (packed,) = layer.packed().values()
    >>> packed.bits, packed.codes.shape, sorted(set(packed.codes.ravel().tolist()))
    (1, (3, 2), [-1, 1])

    Raises:
        ValueError: if neither rule is given, `layer` is a cell or a model, or no weight of it is
            quantized.
    """

    def __init__(self, layer, kernel_quantizer=None, recurrent_quantizer=None, exempt=(), **kwargs):
        recurrent = isinstance(layer, keras.layers.RNN) or not hasattr(layer, "state_size")
        if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.Model):
            raise ValueError(f"`layer` must be a Keras layer; received: {layer!r}")
        if not recurrent:
            raise ValueError(
                f"`layer` must be a layer, not a cell, so that its weights are quantized once a "
                f"sequence: expected `QuantizedWeights(keras.layers.RNN(cell), ...)` or the like, "
                f"received the cell `{layer.name}` ({type(layer).__name__})."
            )
        given = {"kernel_quantizer": kernel_quantizer, "recurrent_quantizer": recurrent_quantizer}
        for name, rule in given.items():
            if rule is not None and not isinstance(rule, WeightQuantizer):
                raise ValueError(
                    f"`{name}` must be a WeightQuantizer such as SumOfSigmoids(), or None; "
                    f"received: {rule!r}"
                )
        if kernel_quantizer is None and recurrent_quantizer is None:
            raise ValueError(
                "`kernel_quantizer` or `recurrent_quantizer` must be given; received None for both."
            )
        kwargs = {"dtype": layer.dtype_policy, "name": layer.name, **kwargs}
        super().__init__(layer, **{"autocast": False, **kwargs})
        # As configurations: each kernel gets a copy, and the one given is no part of the layer.
        self._made_by = {name: None if rule is None else type(rule) for name, rule in given.items()}
        self._configs = {
            name: None if rule is None else keras.saving.serialize_keras_object(rule)
            for name, rule in given.items()
        }
        self.exempt = (exempt,) if isinstance(exempt, str) else tuple(exempt)
        self.supports_masking = layer.supports_masking
        self.quantizers = []
        self._quantized = []

    def build(self, input_shape):
        super().build(input_shape)
        for variable in self.layer.weights:
            given = self._rule_of(variable)
            if given is None or self._configs[given] is None:
                continue
            config = {**self._configs[given]["config"], "name": f"rule_{len(self._quantized)}"}
            rule = self._made_by[given].from_config(config)
            rule.build(tuple(variable.shape))
            rule.built = True
            self.quantizers.append(rule)
            self._quantized.append(variable)
            variable.constraint = _Constraint(variable.constraint, rule)
        if not self._quantized:
            known = sorted(variable.path for variable in self.layer.weights)
            raise ValueError(
                f"`{self.name}` has nothing to quantize: expected weights named 'kernel', "
                f"'..._kernel' or 'recurrent_kernel' that are not exempt, received {known}, "
                f"exempt={self.exempt}."
            )
        self.prepare()

    def _rule_of(self, variable):
        """Name of the argument that holds the rule of a weight, or None."""
        parts = [variable.path, *variable.path.split("/")]
        exempt = any(
            fnmatchcase(part, pattern) or variable.path.endswith(f"/{pattern}")
            for part in parts
            for pattern in self.exempt
        )
        if exempt:
            return None
        if variable.name == "recurrent_kernel":
            return "recurrent_quantizer"
        named = variable.name == "kernel" or variable.name.endswith("_kernel")
        return "kernel_quantizer" if named else None

    def prepare(self):
        """Set the scales, biases and so on of the rules from the present kernels.

        Done when the layer is built; do it again after weights of a trained network are assigned.
        """
        for variable, rule in zip(self._quantized, self.quantizers, strict=True):
            variable.assign(rule.prepare(ops.convert_to_numpy(variable)))

    def call(self, inputs, initial_state=None, mask=None, training=False):
        variables = self._inner_variables()
        before = {id(v): ops.convert_to_tensor(v) for v in variables}
        for variable, rule in zip(self._quantized, self.quantizers, strict=True):
            latent = ops.cast(before[id(variable)], "float32")
            before[id(variable)] = ops.cast(rule(latent, training=training), variable.dtype)
        # All variables: those of an outer scope (of the JAX trainer) are not seen inside.
        mapping = [(v, before[id(v)]) for v in variables]
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            given = _given(initial_state, mask)
            output = call_layer(self.layer, inputs, training=training, **given)
        quantized = {id(v) for v in self._quantized}
        for variable, value in mapping:
            new = scope.get_current_value(variable)
            if new is not value and id(variable) not in quantized and not variable.trainable:
                variable.assign(new)
        for loss in scope.losses:
            self.add_loss(loss)
        return output

    def hard_scope(self):
        """Context in which the kernels of the layer are the hard ones."""
        pairs = zip(self._quantized, self.quantizers, strict=True)
        hard = {id(v): ops.cast(rule.hard(ops.cast(v, "float32")), v.dtype) for v, rule in pairs}
        return keras.StatelessScope(
            [(v, hard.get(id(v), ops.convert_to_tensor(v))) for v in self._inner_variables()]
        )

    def _inner_variables(self):
        """All variables of the layer, with the states that Keras does not count among them."""
        states = [getattr(one, "states", None) for one in all_layers(self.layer)]
        states = [v for v in keras.tree.flatten(states) if isinstance(v, keras.Variable)]
        return list({id(v): v for v in [*self.layer.variables, *states]}.values())

    def packed(self):
        """Return ``{path of the kernel: PackedWeights}``."""
        return {v.path: rule.packed(v) for v, rule in self.quantized()}

    def quantized(self):
        """Return ``[(variable, rule)]`` of the quantized kernels."""
        return list(zip(self._quantized, self.quantizers, strict=True))

    # What Keras and this package ask a recurrent layer for.

    @property
    def stateful(self):
        return getattr(self.layer, "stateful", False)

    @property
    def states(self):
        return getattr(self.layer, "states", None)

    def reset_state(self):
        """Reset the states of a stateful layer."""
        self.layer.reset_state()

    def compute_mask(self, inputs, mask=None):
        return self.layer.compute_mask(inputs, mask)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def compute_output_spec(self, inputs, initial_state=None, mask=None, training=False):
        given = _given(initial_state, mask)
        if "training" in inspect.signature(self.layer.call).parameters:
            given["training"] = training
        return self.layer.compute_output_spec(inputs, **given)

    def get_config(self):
        return {**super().get_config(), **self._configs, "exempt": list(self.exempt)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        names = ("layer", "kernel_quantizer", "recurrent_quantizer")
        return cls(**with_objects(config, names, custom_objects))


def inside(layer):
    """The layer that a `QuantizedWeights` wraps; another layer itself."""
    return layer.layer if isinstance(layer, QuantizedWeights) else layer


def _given(initial_state, mask):
    given = {"initial_state": initial_state, "mask": mask}
    return {name: value for name, value in given.items() if value is not None}


class _Constraint(keras.constraints.Constraint):
    """The constraint that a kernel has of its own, then that of its rule."""

    def __init__(self, own, rule):
        self.own, self.rule = own, rule

    def __call__(self, w):
        return self.rule.constrain(w if self.own is None else self.own(w))
