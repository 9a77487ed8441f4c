"""One crossbar tile, the array of tiles of a layer, and one programmed chip."""
