"""LoRA and LyCORIS files as such: names of modules, headers, decompositions, the algebra of LyCORIS."""
