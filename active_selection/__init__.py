"""Which regions to label next: one region table a domain, and strategies that only read it."""
