"""Reports of experiments: what was measured, what was selected, and a page that shows both."""
