"""Which regions to label next: one region table per domain, and strategies that only read it."""
