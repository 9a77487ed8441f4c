"""Analog layers that keep the names and units of their digital layers."""
