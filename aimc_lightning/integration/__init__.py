"""How the library plugs into the Lightning Trainer."""
