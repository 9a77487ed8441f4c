"""Checkpoints as safetensors and JSON, in a folder or on a hub; no pickle is ever read."""
