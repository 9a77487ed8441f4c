"""ResNet-50 of torchvision on ImageNet."""
