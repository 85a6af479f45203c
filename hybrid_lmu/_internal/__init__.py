"""Helpers of this package; nothing here is public."""
