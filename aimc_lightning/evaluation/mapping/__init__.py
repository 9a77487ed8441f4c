"""What a network takes on hardware: tiles, products, conversions, devices, energy and time."""
