"""QuantizedWeights: any layer, with kernels of a few levels."""

import copy
import inspect
from collections.abc import Sequence
from fnmatch import fnmatchcase

import keras
from keras import ops

from hybrid_lmu._internal.keras_compat import set_untracked
from hybrid_lmu._internal.traversal import all_layers, variable_paths
from hybrid_lmu.cells._hybrid_cell import call_layer, with_objects
from hybrid_lmu.weights._quantizer import WeightQuantizer

ARGUMENTS = ("kernel_quantizer", "recurrent_quantizer")


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class QuantizedWeights(keras.layers.Wrapper):
    """Wrap a layer so that it computes with quantized kernels; its own stay, as latent weights.

    During a call of the layer, each kernel W is replaced by ``quantizer(W)``. This happens once a
    call, not once a step, so that the gradients of all steps are summed before they pass the
    quantizer. Works with any layer of one input (and initial states): Dense,
    convolutions, SimpleRNN, GRU, LSTM, `keras.layers.RNN` around a cell, `HybridLMU`,
    `keras_lmu.LMU`, Bidirectional, TimeDistributed (wrap the outermost of them). The layer becomes
    part of the wrapper; its kernels get the constraint of the rule.

    Rules that start from the kernel (all but `StraightThroughSign`) read it when the layer is
    built, so that a model needs a `keras.Input`, or a first call on a batch, before `fit`.

    Args:
        layer: the layer; not a cell, and not a model.
        kernel_quantizer: rule for the weights named ``kernel`` or ``..._kernel``, of the layer and
            of the layers and cells in it: `StraightThroughSign`, `ScaledBinary`, `SumOfSigmoids`,
            `Bernoulli`, or one of your own (`WeightQuantizer`). Each weight gets a copy of it, with
            scales of its own. Default ``None``: full precision.
        recurrent_quantizer: rule for those named ``recurrent_kernel``. Default ``None``.
        exempt: shell patterns; a weight stays at full precision if one matches its path within the
            layer, a part of that, or its end, such as ``"hidden"`` or ``"lmu_cell/kernel"``.

    Biases stay at full precision. ``model.quantize("int8")`` leaves the layer as it is, and LoRA
    inside it is an error. Arguments of the call, output and states are those of the layer.

    Example:

    >>> layer = QuantizedWeights(keras.layers.Dense(2, use_bias=False), SumOfSigmoids("binary"))
    >>> _ = layer(np.ones((1, 3), "float32"))
    >>> (packed,) = layer.packed().values()
    >>> packed.bits, packed.codes.shape, sorted(set(packed.codes.ravel().tolist()))
    (1, (3, 2), [-1, 1])

    Raises:
        ValueError: if neither rule is given, `layer` is a cell, a model, a layer of several inputs
            or one of these wrappers, or has LoRA or kernels that Keras quantizes; when it is built,
            if no weight of it is quantized, a pattern of `exempt` matches none, or a rule does not
            fit a kernel.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        kernel_quantizer: WeightQuantizer | None = None,
        recurrent_quantizer: WeightQuantizer | None = None,
        *,
        exempt: str | Sequence[str] = (),
        **kwargs,
    ):
        recurrent = isinstance(layer, keras.layers.RNN) or not hasattr(layer, "state_size")
        if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.Model):
            raise ValueError(f"`layer` must be a Keras layer; received: {layer!r}")
        if isinstance(layer, QuantizedWeights):
            raise ValueError(
                f"`layer` has quantized weights already; received the wrapper {layer.name!r}. Give "
                "both rules to one wrapper."
            )
        if _number_of_inputs(layer) > 1:
            raise ValueError(
                f"`layer` must have one input; received {layer.name!r} ({type(layer).__name__}), "
                f"which is built from {_number_of_inputs(layer)}."
            )
        if not recurrent:
            raise ValueError(
                f"`layer` must be a layer, not a cell, so that its weights are quantized once a "
                f"sequence: expected `QuantizedWeights(keras.layers.RNN(cell), ...)` or the like, "
                f"received the cell `{layer.name}` ({type(layer).__name__})."
            )
        _check_not_transformed(layer)
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
        rules = {name: rule for name, rule in given.items() if rule is not None}
        set_untracked(self, "_made_by", {name: type(rule) for name, rule in rules.items()})
        serialize = keras.saving.serialize_keras_object
        set_untracked(self, "_configs", {name: serialize(rule) for name, rule in rules.items()})
        self.exempt = as_patterns(exempt)
        self.names_of_parts = {"layer": None}  # the layer has the name of this wrapper
        self.supports_masking = layer.supports_masking
        self.quantizers = []
        set_untracked(self, "_quantized", [])
        set_untracked(self, "_inner_variables", [])
        self.trainable = layer.trainable

    def build(self, input_shape):
        super().build(input_shape)
        paths = variable_paths(self.layer)
        set_untracked(self, "_paths", paths)
        known = [paths[id(w)] for w in self.layer.weights]
        unused = [p for p in self.exempt if not any(matches(path, p) for path in known)]
        if unused:
            raise ValueError(
                f"`exempt` must name weights of the layer, {sorted(known)}; received: {unused}"
            )
        for variable in self.layer.weights:
            given = self._rule_of(variable)
            if given not in self._made_by:
                continue
            config = {**self._configs[given]["config"], "name": f"rule_{len(self._quantized)}"}
            rule = self._made_by[given].from_config(config)
            check_axes(rule, variable, self.layer)
            rule.build(tuple(variable.shape))
            rule.trainable = self.layer.trainable
            rule.built = True
            self.quantizers.append(rule)
            self._quantized.append(variable)
            variable.constraint = _Constraint(variable.constraint, rule)
        if not self._quantized:
            raise ValueError(
                f"`{self.name}` has nothing to quantize: expected weights named 'kernel', "
                f"'..._kernel' or 'recurrent_kernel' that are not exempt, received "
                f"{sorted(known)}, exempt={self.exempt}."
            )
        # With the states that Keras does not count among the variables.
        states = [getattr(one, "states", None) for one in all_layers(self.layer)]
        states = [v for v in keras.tree.flatten(states) if isinstance(v, keras.Variable)]
        own = {id(v): v for v in [*self.layer.variables, *states]}
        set_untracked(self, "_inner_variables", list(own.values()))
        for one in all_layers(self.layer):
            _keep_as_it_is(one, self.name)
        self.prepare()

    def _rule_of(self, variable):
        """Name of the argument that holds the rule of a weight, or None."""
        if any(matches(self._paths[id(variable)], pattern) for pattern in self.exempt):
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
            if type(rule).prepare is WeightQuantizer.prepare:
                continue
            try:
                latent = ops.convert_to_numpy(variable)
            except Exception as e:  # each backend has its own for a tensor of a tracing
                raise ValueError(
                    f"`{self.name}` sets the scales of {variable.path!r} from its values, which "
                    "are not there yet while a model is built inside `fit`. Begin the model with a "
                    "`keras.Input`, or call it once on a batch before."
                ) from e
            variable.assign(rule.prepare(latent))

    def call(self, inputs, initial_state=None, mask=None, training=False):
        variables = self._inner_variables
        before = {id(v): ops.convert_to_tensor(v) for v in variables}
        for variable, rule in zip(self._quantized, self.quantizers, strict=True):
            latent = ops.cast(before[id(variable)], "float32")
            before[id(variable)] = ops.cast(rule(latent, training=training), variable.dtype)
        # All variables: those of an outer scope (of the JAX trainer) are not seen inside.
        mapping = [(v, before[id(v)]) for v in variables]
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            given = self._given(initial_state, mask)
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
            [(v, hard.get(id(v), ops.convert_to_tensor(v))) for v in self._inner_variables]
        )

    def _given(self, initial_state, mask):
        """The optional arguments that are there and that the layer takes."""
        given, known = {}, inspect.signature(self.layer.call).parameters
        if initial_state is not None:
            given["initial_state"] = initial_state
        if mask is not None and "mask" in known:
            given["mask"] = mask
        return given

    def packed(self):
        """Return ``{path of the kernel within the layer: PackedWeights}``."""
        return {self._paths[id(v)]: rule.packed(v) for v, rule in self.quantized()}

    def rule_classes(self):
        """Return ``{argument: class of the rule}`` of the rules that were given."""
        return dict(self._made_by)

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
        given = self._given(initial_state, mask)
        if "training" in inspect.signature(self.layer.call).parameters:
            given["training"] = training
        return self.layer.compute_output_spec(inputs, **given)

    def get_config(self):
        rules = {**dict.fromkeys(ARGUMENTS), **copy.deepcopy(self._configs)}
        return {**super().get_config(), **rules, "exempt": list(self.exempt)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_objects(config, ("layer", *ARGUMENTS), custom_objects))


def inside(layer):
    """The layer that a `QuantizedWeights` wraps; another layer itself."""
    return layer.layer if isinstance(layer, QuantizedWeights) else layer


def as_patterns(exempt):
    """One pattern or several, as a tuple; ValueError for anything else."""
    patterns = (exempt,) if isinstance(exempt, str) else exempt
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(p, str) for p in patterns):
        raise ValueError(f"`exempt` must be a pattern or a sequence of them; received: {exempt!r}")
    return tuple(patterns)


def matches(path, pattern):
    """Whether a shell pattern matches a path, one part of it, or its end."""
    found = any(fnmatchcase(part, pattern) for part in (path, *path.split("/")))
    return found or path.endswith(f"/{pattern}")


def check_axes(rule, variable, layer):
    """Raise ValueError if a rule goes by outputs and inputs that a kernel has on other axes."""
    owner = [one for one in all_layers(layer) if any(w is variable for w in one.weights)][-1]
    name = type(owner).__name__
    others = "Transpose" in name or "Depthwise" in name or name == "EinsumDense"
    if rule.by_axes and (others or variable.name == "depthwise_kernel"):
        raise ValueError(
            f"{type(rule).__name__} with these arguments needs the outputs of a kernel on its last "
            f"axis and its inputs before; received {variable.path!r} of shape "
            f"{tuple(variable.shape)} of a {name}. Use SumOfSigmoids or a number as scale, or "
            "leave it out by `exempt`."
        )


def _check_not_transformed(layer):
    """Raise ValueError for LoRA, and for kernels that Keras has quantized or is told to."""
    for one in all_layers(layer):
        lora = getattr(one, "lora_enabled", False) or getattr(one, "lora_rank", None)
        mode = getattr(one, "quantization_mode", None)
        if lora or mode:
            raise ValueError(
                "`layer` must have plain kernels, which the rules quantize; received "
                f"{one.name!r} ({type(one).__name__}) with "
                f"{'LoRA' if lora else f'quantization mode {mode!r} of Keras'}."
            )


def _keep_as_it_is(layer, name):
    """Refuse Keras's own transformations of the latent kernels, which would replace the rules.

    `keras.Model.quantize` takes a NotImplementedError for a warning, and quantizes other layers.
    """

    def quantize(*args, **kwargs):
        raise NotImplementedError(
            f"Layer {layer.name!r} stays as it is: `QuantizedWeights` {name!r} quantizes its "
            "kernels already."
        )

    def enable_lora(*args, **kwargs):
        raise ValueError(
            f"LoRA cannot be enabled in {layer.name!r}: `QuantizedWeights` {name!r} computes with "
            "kernels of a few levels, and a sum with LoRA's matrices has none."
        )

    set_untracked(layer, "quantize", quantize)
    if hasattr(layer, "enable_lora"):
        set_untracked(layer, "enable_lora", enable_lora)


def _number_of_inputs(layer):
    parameters = inspect.signature(layer.build).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)


class _Constraint(keras.constraints.Constraint):
    """The constraint that a kernel has of its own, then that of its rule."""

    def __init__(self, own, rule):
        self.own, self.rule = own, rule

    def __call__(self, w):
        return self.rule.constrain(w if self.own is None else self.own(w))
