"""Trained networks converted to hybrid-spiking or to integrate-and-fire networks."""
