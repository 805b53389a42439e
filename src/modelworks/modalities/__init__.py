"""What the kinds of content have in common with nobody else: one file per modality."""
