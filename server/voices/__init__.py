"""Voices that callers bring: taken in safely, checked in a process of their own, kept, let go."""
