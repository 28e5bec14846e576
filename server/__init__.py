"""What only serving needs: settings, voices on disk, the verbs and their HTTP face."""

VERSION = "0.1.0"
