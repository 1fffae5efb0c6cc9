"""Drawings, reports and pages of what a network does with a digit; and its export to ONNX."""
