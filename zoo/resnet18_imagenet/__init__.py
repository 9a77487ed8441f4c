"""ResNet-18 of torchvision on ImageNet."""
