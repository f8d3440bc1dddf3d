"""Decoders: the region of each photo that its keyed crop reads, with the pixels that Pillow gives."""
