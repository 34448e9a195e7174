"""What was made: pictures, their folder and manifest, sheets and films."""
