"""Agreement on blocks: Simplex weighted by contribution (DESIGN §6), without I/O."""
