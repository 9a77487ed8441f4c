"""Programme chips, age them, measure them."""
