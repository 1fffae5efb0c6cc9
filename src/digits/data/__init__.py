"""From MNIST's files to normalised batches on the device."""
