"""Labelling packages for people: regions out to a labelling tool, and their answers in again."""
