"""ResNet-32 with option-A shortcuts on CIFAR-10."""
