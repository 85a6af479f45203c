"""Learning rules of spiking networks with binary weights, compared in calibration."""
