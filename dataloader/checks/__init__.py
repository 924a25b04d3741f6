"""Whether data can be right: files, labels, superpixel maps and predictions, where they enter."""
