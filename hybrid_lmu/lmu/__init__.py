"""The hybrid-spiking Legendre Memory Unit: cell and layer."""
