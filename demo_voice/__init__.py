"""The demo voice: built from two pinned packages and the prior that is trained and kept here."""
