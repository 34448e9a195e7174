"""What a network does otherwise: units switched off, circuits, distortions, two networks told apart."""
