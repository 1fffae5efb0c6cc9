"""From a person's pictures to digits."""
