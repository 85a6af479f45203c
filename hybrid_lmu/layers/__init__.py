"""Small layers around a recurrent network: steps, readouts, whole simulations."""
