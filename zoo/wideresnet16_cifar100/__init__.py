"""WideResNet-16-4 on CIFAR-100."""
