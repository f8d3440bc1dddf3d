"""Training: a small network fed by augengine's loader."""
