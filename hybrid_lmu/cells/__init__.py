"""Recurrent cells and layers with quantized activity, around any cell of Keras."""
