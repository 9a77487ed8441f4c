"""DenseNet-121 of torchvision on ImageNet."""
