"""Physics of a crossbar tile as plain functions on tensors."""
