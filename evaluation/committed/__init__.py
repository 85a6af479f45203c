"""The committed results: their tables, keeping new ones, measuring them again."""
