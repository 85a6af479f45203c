"""Layers and operations of which no product is counted, and why.

What multiplies nothing is listed here; of anything else without a rule the report says so.
"""

import keras

from hybrid_lmu.accounting.cells import class_key

# Layers with weights of which no product is counted, and why.
NOT_COUNTED = {
    **dict.fromkeys(
        (
            *("BatchNormalization", "LayerNormalization", "GroupNormalization"),
            *("RMSNormalization", "UnitNormalization", "Normalization"),
        ),
        "normalisation",
    ),
    "Embedding": "look-up",
    **dict.fromkeys(("Multiply", "Dot", "Attention"), "products of two activations"),
    **dict.fromkeys(("Rescaling", "Scale"), "products with a constant"),
}

# Additions, averages, comparisons, look-ups; layers with a rule need not be here.
_NO_PRODUCTS = {
    *("InputLayer", "Add", "Subtract", "Average", "Maximum", "Minimum"),
    *("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"),
    *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"),
    *("CategoryEncoding", "Discretization", "Hashing", "HashedCrossing", "IntegerLookup"),
    *("StringLookup", "TextVectorization"),
}

ACTIVATION_OPERATIONS = {
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Softplus", "Softsign", "Silu", "LogSigmoid"),
    *("LeakyRelu", "HardSigmoid", "HardSilu", "Elu", "Selu", "Gelu", "Softmax", "LogSoftmax"),
    *("Celu", "HardTanh", "TanhShrink", "HardShrink", "SoftShrink", "Threshold"),
    *("SparseSigmoid", "SparsePlus", "Squareplus", "Sparsemax"),
}

_OPERATIONS_WITHOUT_PRODUCTS = ACTIVATION_OPERATIONS | {
    # Moves of entries.
    *("Reshape", "Transpose", "Squeeze", "ExpandDims", "GetItem", "Concatenate", "Stack"),
    *("Unstack", "Split", "Flip", "Roll", "Repeat", "Tile", "Pad", "BroadcastTo", "Ravel"),
    *("Moveaxis", "Swapaxes", "Take", "TakeAlongAxis", "Slice", "SliceUpdate", "Rot90", "Copy"),
    *("Append", "Cast", "StopGradient", "Where", "Triu", "Tril", "Vstack", "Hstack", "Sort"),
    *("OneHot", "ZerosLike", "OnesLike", "FullLike"),
    # Additions and averages.
    *("Add", "Subtract", "Negative", "Sum", "Cumsum", "Diff", "Mean", "AveragePool"),
    # Comparisons and functions of one number.
    *("Max", "Min", "Maximum", "Minimum", "MaxPool", "Argmax", "Argmin", "Argsort", "TopK"),
    *("Clip", "Abs", "Absolute", "Sign", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less"),
    *("LessEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "LogicalXor", "Any", "All"),
    *("Isnan", "Isinf", "Isfinite", "Round", "Floor", "Ceil", "Trunc", "CountNonzero"),
    *("Exp", "Expm1", "Log", "Log1p", "Sqrt", "Rsqrt", "Sin", "Cos", "Sinh", "Cosh", "Erf"),
}

_PRODUCTS = {
    *("Matmul", "Multiply", "Dot", "Tensordot", "Einsum", "Inner", "Outer", "Vdot", "Cross"),
    *("Square", "Glu", "DotProductAttention", "Kron"),
}


def reason_not_counted(layer):
    """Return why the products of a layer of a known class are left out, None if they are not."""
    if isinstance(layer, keras.layers.TimeDistributed):
        layer = layer.layer
    package, name = class_key(layer)
    return NOT_COUNTED.get(name) if package in ("keras", "hybrid_lmu") else None


def reason_unknown(layer):
    """Return why the products of a layer without weights, rule and layers inside are left out.

    None if it has none.
    """
    package, name = class_key(layer)
    if package == "keras" and name in _NO_PRODUCTS:
        return None
    return "products unknown"


def operations(model):
    """Return the operations of a functional model that are no layers, such as ``ops.matmul``."""
    found = getattr(model, "operations", [])
    return [one for one in found if not isinstance(one, keras.layers.Layer)]


def reason_operation(operation):
    """Return why the products of such an operation are left out, or None if it has none."""
    name = type(operation).__name__
    if name in _OPERATIONS_WITHOUT_PRODUCTS:
        return None
    if name in _PRODUCTS:
        return "products of two activations or with a constant"
    return "products unknown"
