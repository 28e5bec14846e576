"""Equality with Official RVC on random weights in its formats."""
