"""Residual network of eight layers on the 8 x 8 digits of scikit-learn."""
