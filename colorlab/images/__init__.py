"""Picture files: decode, encode, color profiles, TIFF, contact sheets."""
