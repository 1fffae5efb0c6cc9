"""The network: its geometry, its layers, and the LightningModule that trains it."""
