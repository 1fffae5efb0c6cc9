"""What a network does with a digit, in drawings, reports and exported files."""
