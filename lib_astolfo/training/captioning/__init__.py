"""Captions by a local tagger of the WD14 kind, run by ONNX Runtime, which is asked for only when it is used."""
