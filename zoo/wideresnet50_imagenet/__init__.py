"""WideResNet-50-2 of torchvision on ImageNet."""
