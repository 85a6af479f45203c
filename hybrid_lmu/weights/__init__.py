"""Weight rules: how a layer's weights of a few bits come from the values that are trained."""
