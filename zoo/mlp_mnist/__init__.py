"""Perceptron with two hidden layers on MNIST."""
