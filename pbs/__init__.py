"""The controller's side of the pull-based backup server: what decides, watches, proves and shows."""

__version__ = "0.1.0"
